"""The palette: one colour a code, that of an endless plane of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.errors import VerificationFailed
from rowcast_export.manifest import Exported
from rowcast_export.palette import make_palette, npy_bytes, verify_palette
from rowcast_export.vqgan import DecoderShape, LevelShape, VQGANDecoder
from torch import nn


def lively(shape: DecoderShape) -> VQGANDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = VQGANDecoder(shape).eval()
        nn.init.constant_(module.get_parameter("decoder.conv_out.bias"), 0.5)
    return module


def test_the_file_is_plain_and_small(exported: Exported) -> None:
    path = exported.path.with_name("palette.npy")
    palette = np.load(path, allow_pickle=False)
    assert palette.dtype == np.uint8
    assert palette.shape == (50, 1, 1, 3)
    assert path.read_bytes()[128:] == palette.tobytes()  # what a reader in another language does
    assert len(np.unique(palette.reshape(50, 3), axis=0)) > 25  # codes differ
    [_, entry] = json.loads(path.with_name("manifest.json").read_text())["files"]
    assert entry["agreement"]["byte_difference"] <= 1
    full_size = npy_bytes(np.zeros((16384, 1, 1, 3), dtype=np.uint8))
    assert len(full_size) < 50_000


@pytest.mark.parametrize("attention", [True, False])
def test_it_is_what_the_decoder_shows_on_a_wrapped_grid(tmp_path: Path, attention: bool) -> None:
    """Summed kernels against the decoder itself, which agrees in every pixel: a plane is flat."""
    low = LevelShape(64, (64, 64), attention=attention, upsample=True)
    levels = (LevelShape(64, (32,), attention=False, upsample=False), low)
    module = lively(DecoderShape(40, 8, 32, 64, attention, levels))
    palette, statistics = make_palette(module)
    (tmp_path / "palette.npy").write_bytes(npy_bytes(palette))
    agreement = verify_palette(tmp_path / "palette.npy", module, statistics)
    assert agreement.codes == 8
    assert agreement.byte_difference <= 1


def test_the_decoder_is_left_as_it_was(module: VQGANDecoder, exported: Exported) -> None:
    ids = torch.arange(12).reshape(1, 3, 4)
    before = module(ids)
    palette, statistics = make_palette(module)
    path = exported.path.with_name("palette.npy")
    assert (np.load(path) == palette).all()  # the same colours each time
    verify_palette(path, module, statistics)
    assert torch.equal(module(ids), before)


def test_a_wrong_palette_is_a_fault(module: VQGANDecoder, tmp_path: Path) -> None:
    palette, statistics = make_palette(module)
    path = tmp_path / "palette.npy"
    for wrong, complaint in (
        (palette[:-1], r"\(49, 1, 1, 3\), wanted"),
        (palette.astype(np.int8), "int8"),
        (palette[::-1], "colours differ"),
    ):
        path.write_bytes(npy_bytes(np.ascontiguousarray(wrong)))
        with pytest.raises(VerificationFailed, match=complaint):
            verify_palette(path, module, statistics)
    path.write_bytes(npy_bytes(palette)[:100])
    with pytest.raises(VerificationFailed, match="cannot be read"):
        verify_palette(path, module, statistics)
