"""What is in the repository is enough to go on training."""

from __future__ import annotations

import numpy as np
import torch

from training.export_weights import PACKAGE
from training.rendering import as_pixels, render
from training.scenes import sample_scene
from training.warm_start import load_float, shipped_autoencoder, shipped_transformer


def test_the_transformer_that_goes_on_is_the_shipped_one() -> None:
    encoder, decoder = shipped_transformer().plain_state()
    for state, name in ((encoder, "encoder"), (decoder, "decoder")):
        shipped = load_float(PACKAGE / f"{name}.safetensors")
        assert state.keys() == shipped.keys()
        assert all(torch.equal(state[key], shipped[key]) for key in shipped)


def test_a_fresh_picture_goes_through_the_shipped_tokenizer_and_back() -> None:
    torch.set_num_threads(1)
    picture = render(sample_scene(np.random.default_rng(5), held_out=None))
    pixels = as_pixels(picture[None].copy())
    model = shipped_autoencoder()
    with torch.no_grad():
        back = model.detokenizer(model.tokens(pixels))
    assert float(-10 * torch.log10(((back - pixels) ** 2).mean())) > 25.0
