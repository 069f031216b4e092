"""The full decoder's pictures: decoded once, and taken up after the last whole one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.distill.references import Planes, reference_pictures
from rowcast_export.vqgan import VQGANDecoder

from tests.support.decoders import TINY

IDS = np.random.default_rng(0).integers(0, TINY.codebook_size, (5, 4, 6))
CPU = torch.device("cpu")


def complete(path: Path, module: VQGANDecoder) -> tuple[Planes, list[int]]:
    """The pictures, and the numbers of the grids that had to be decoded."""
    decoded: list[int] = []
    pictures = reference_pictures(
        path, module, IDS, CPU, lambda what, done, total: decoded.append(done)
    )
    return pictures, decoded


def test_each_picture_is_the_full_decoders(module: VQGANDecoder, tmp_path: Path) -> None:
    pictures, decoded = complete(tmp_path / "file", module)
    assert decoded == [0, 1, 2, 3, 4]
    assert (tmp_path / "file").stat().st_size == pictures.nbytes
    for index in range(len(IDS)):
        with torch.inference_mode():
            pixels = module(torch.from_numpy(IDS[index : index + 1]))[0]
        assert np.array_equal(pictures[index], (pixels * 255).floor().numpy())


@pytest.mark.parametrize("cut", [0, 1, 287, 288, 289, 500, 1007])
def test_a_file_cut_anywhere_is_taken_up(module: VQGANDecoder, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "file"
    complete(path, module)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    _, decoded = complete(path, module)
    assert path.read_bytes() == whole
    assert 0 < len(decoded) <= 5
    assert complete(path, module)[1] == []
