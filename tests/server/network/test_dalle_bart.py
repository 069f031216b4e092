"""The torch transformer: causal, deaf to padding, of the sizes of its state dict."""

from __future__ import annotations

import pytest
import torch
from rowcast_server.network.dalle_bart import DalleBartDecoder, DalleBartEncoder, text_mask
from rowcast_server.network.facts import TransformerShape
from torch import Tensor

ENCODER = TransformerShape(vocabulary=50, positions=64, width=128, glu_width=96, layers=2)
DECODER = TransformerShape(
    vocabulary=31, positions=24, width=128, glu_width=80, layers=3, outputs=30
)
START = 30


@pytest.fixture(scope="module")
def modules() -> tuple[DalleBartEncoder, DalleBartDecoder]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return DalleBartEncoder(ENCODER).eval(), DalleBartDecoder(DECODER).eval()


@pytest.fixture(scope="module")
def text() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 50, (3, 64), generator=generator)
    for row, length in enumerate((2, 17, 64)):
        ids[row, length:] = 1
    return ids


def test_sizes_follow_from_the_state_dict(
    modules: tuple[DalleBartEncoder, DalleBartDecoder],
) -> None:
    assert TransformerShape.of(modules[0].state_dict()) == ENCODER
    assert TransformerShape.of(modules[1].state_dict()) == DECODER


@torch.no_grad()
def test_later_tokens_do_not_change_earlier_logits(
    modules: tuple[DalleBartEncoder, DalleBartDecoder], text: Tensor
) -> None:
    encoder, decoder = modules
    states, mask = encoder(text), text_mask(text)
    previous = torch.full((3, 24), START)
    changed = previous.clone()
    changed[:, 10:] = 5
    first, second = decoder(previous, states, mask), decoder(changed, states, mask)
    torch.testing.assert_close(first[:, :10], second[:, :10], rtol=0, atol=1e-6)
    assert not torch.allclose(first[:, 10:], second[:, 10:])


@torch.no_grad()
def test_padding_does_not_matter(
    modules: tuple[DalleBartEncoder, DalleBartDecoder], text: Tensor
) -> None:
    encoder, decoder = modules
    padded, cut = text[1:2], text[1:2, :17]
    states, shorter = encoder(padded), encoder(cut)
    torch.testing.assert_close(states[:, :17], shorter, rtol=0, atol=1e-5)
    previous = torch.full((1, 4), START)
    torch.testing.assert_close(
        decoder(previous, states, text_mask(padded)),
        decoder(previous, shorter, text_mask(cut)),
        rtol=0,
        atol=1e-5,
    )


def test_absent_norm_scales_are_one(modules: tuple[DalleBartEncoder, DalleBartDecoder]) -> None:
    state = {
        key: value
        for key, value in modules[0].state_dict().items()
        if not key.endswith(("self_attn_layer_norm.weight", "ln0.weight"))
    }
    loaded = DalleBartEncoder.from_state_dict({key: value.half() for key, value in state.items()})
    assert torch.equal(loaded.get_parameter("layers.0.glu.ln0.weight"), torch.ones(128))
    with pytest.raises(RuntimeError, match="fc2"):
        DalleBartEncoder.from_state_dict(
            {key: value for key, value in state.items() if not key.endswith("1.glu.fc2.weight")}
        )


def test_a_width_of_broken_heads_is_refused() -> None:
    shape = TransformerShape(vocabulary=9, positions=8, width=96, glu_width=8, layers=1)
    with pytest.raises(ValueError, match="96"):
        TransformerShape.of(DalleBartEncoder(shape).state_dict())
