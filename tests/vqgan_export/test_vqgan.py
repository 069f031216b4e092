"""The decoder module: its sizes come from the keys, and any grid is decoded as it should be."""

from __future__ import annotations

import pytest
import torch
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from torch import Tensor


def small_shape(mid_attention: bool = True, low_attention: bool = True) -> DecoderShape:
    levels = (
        LevelShape(32, (32, 32), attention=False, upsample=False),
        LevelShape(64, (32,), attention=False, upsample=True),
        LevelShape(64, (64, 64, 64), attention=low_attention, upsample=True),
    )
    return DecoderShape(
        codebook_size=19,
        code_channels=4,
        latent_channels=8,
        mid_channels=64,
        mid_attention=mid_attention,
        levels=levels,
    )


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(VQGANDecoder(small_shape()).state_dict())


@pytest.mark.parametrize("mid_attention", [True, False])
@pytest.mark.parametrize("low_attention", [True, False])
def test_sizes_follow_from_the_state_dict(mid_attention: bool, low_attention: bool) -> None:
    shape = small_shape(mid_attention, low_attention)
    assert DecoderShape.from_state_dict(VQGANDecoder(shape).state_dict()) == shape
    assert shape.pixels_per_token == 4


def test_keys_are_those_of_the_family(state: dict[str, Tensor]) -> None:
    for key in (
        "embedding.weight",
        "post_quant_conv.weight",
        "decoder.conv_in.bias",
        "decoder.mid.block_1.norm1.weight",
        "decoder.mid.attn_1.proj_out.weight",
        "decoder.mid.block_2.conv2.weight",
        "decoder.up.2.attn.2.q.weight",
        "decoder.up.2.upsample.conv.weight",
        "decoder.up.1.block.0.nin_shortcut.weight",
        "decoder.norm_out.weight",
        "decoder.conv_out.bias",
    ):
        assert key in state
    assert "decoder.up.0.upsample.conv.weight" not in state


def test_half_precision_weights_are_loaded_as_float(state: dict[str, Tensor]) -> None:
    module = VQGANDecoder.from_state_dict({key: value.half() for key, value in state.items()})
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    assert not module.training


def test_missing_and_unknown_keys_are_errors(state: dict[str, Tensor]) -> None:
    with pytest.raises(RuntimeError, match="conv_out"):
        VQGANDecoder.from_state_dict(
            {key: value for key, value in state.items() if key != "decoder.conv_out.bias"}
        )
    with pytest.raises(RuntimeError, match="surprise"):
        VQGANDecoder.from_state_dict({**state, "decoder.surprise": torch.zeros(1)})
    with pytest.raises(KeyError):
        VQGANDecoder.from_state_dict({})


@pytest.mark.parametrize(("rows", "cols"), [(1, 5), (3, 2), (4, 4)])
def test_any_grid_becomes_pixels_in_range(state: dict[str, Tensor], rows: int, cols: int) -> None:
    module = VQGANDecoder.from_state_dict(state)
    ids = torch.arange(2 * rows * cols).reshape(2, rows, cols) % 19
    with torch.no_grad():
        pixels = module(ids)
    assert pixels.shape == (2, 3, rows * 4, cols * 4)
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_pictures_of_a_batch_do_not_touch(state: dict[str, Tensor]) -> None:
    module = VQGANDecoder.from_state_dict(state)
    ids = torch.arange(24).reshape(2, 3, 4) % 19
    with torch.no_grad():
        together, alone = module(ids), module(ids[1:])
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-5)


def test_value_range_maps_black_and_white(state: dict[str, Tensor]) -> None:
    unit, signed = (
        VQGANDecoder.from_state_dict(state, value_range=limits)
        for limits in ((0.0, 1.0), (-1.0, 1.0))
    )
    ids = torch.zeros(1, 2, 2, dtype=torch.int64)
    with torch.no_grad():
        raw = unit.decode_vectors(unit.embedding(ids).permute(0, 3, 1, 2))
        torch.testing.assert_close(unit(ids), raw.clamp(0, 1))
        torch.testing.assert_close(signed(ids), ((raw + 1) / 2).clamp(0, 1))
    with pytest.raises(ValueError, match="rise"):
        VQGANDecoder(small_shape(), value_range=(1.0, 0.0))
