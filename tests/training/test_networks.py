"""The lattice of codes, and the upsampling that stands in for the detokenizer's own."""

from __future__ import annotations

import torch
from rowcast_export.vqgan import Upsample, VQGANDecoder

from training.networks import (
    CODEBOOK_SIZE,
    NORM_EPSILON,
    RepeatingUpsample,
    code_table,
    decoder_shape,
    quantise,
    repeat_pixels,
)


def test_codes_and_vectors_agree() -> None:
    table = code_table()
    assert table.shape == (CODEBOOK_SIZE, 4)
    latent = torch.linspace(-3, 3, 4 * 5 * 7).reshape(1, 4, 5, 7).roll(2, dims=1)
    vectors, ids = quantise(latent)
    torch.testing.assert_close(vectors[0], table[ids[0]].permute(2, 0, 1))


def test_upsampling_by_repetition_has_the_same_weights_values_and_gradients() -> None:
    torch.manual_seed(0)
    plain = VQGANDecoder(decoder_shape((1, 1)), (0.0, 1.0), NORM_EPSILON)
    repeating = VQGANDecoder(decoder_shape((1, 1)), (0.0, 1.0), NORM_EPSILON)
    repeat_pixels(repeating)
    kinds = [type(module) for module in repeating.modules()]
    assert (kinds.count(Upsample), kinds.count(RepeatingUpsample)) == (0, 1)
    repeating.load_state_dict(plain.state_dict())
    pictures = []
    for module in (plain, repeating):
        picture = module.decode_vectors(torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4))
        torch.autograd.backward(picture.square().sum())
        pictures.append(picture)
    torch.testing.assert_close(pictures[1], pictures[0], rtol=0, atol=1e-6)
    for (name, first), second in zip(plain.named_parameters(), repeating.parameters(), strict=True):
        if first.grad is not None:
            assert first.grad.abs().max() > 0, name
            assert second.grad is not None
            torch.testing.assert_close(second.grad, first.grad, rtol=1e-4, atol=1e-5)
