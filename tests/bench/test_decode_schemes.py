"""Each scheme paints the rows that it is given."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.detokenizer import Detokenizer
from rowcast.palette import PAPER
from rowcast_bench.decode_files import DecoderFiles
from rowcast_bench.decode_schemes import (
    Scheme,
    client_schemes,
    filled,
    min_dalle_scheme,
    whole_grid_scheme,
)
from rowcast_bench.decode_sheet import HEADER, LABELS, contact_sheet, sheet_size

GRID = np.random.default_rng(0).integers(0, 50, (16, 16))
SIDE = 2


def test_rows_that_are_not_drawn_yet_are_filled() -> None:
    assert filled(np.array([[1, 2]]), 3, 9).tolist() == [[1, 2], [9, 9], [9, 9]]


def test_pixels_of_the_rows_so_far(tiny_files: DecoderFiles) -> None:
    schemes = client_schemes(tiny_files, 1)
    assert [each.name for each in schemes if each.is_final] == ["rows_so_far", "whole_grid"]
    for scheme in schemes:
        assert scheme.paint("a", GRID[:3]).shape == (3 * SIDE, 16 * SIDE, 3)
        assert len(scheme.flops(16)) == 16
    last = [each.paint("b", GRID) for each in schemes if each.is_final]
    assert np.array_equal(*last)


def test_min_dalles_module_paints_the_whole_grid() -> None:
    scheme = min_dalle_scheme()
    pixels = scheme.paint("a", GRID[:2])
    assert pixels.shape == (32, 256, 3)
    assert pixels.dtype == np.uint8
    [count, *others] = scheme.flops(16)
    assert others == [count] * 7
    assert count == pytest.approx(252e9, rel=0.02)


def test_the_contact_sheet(tiny_files: DecoderFiles) -> None:
    schemes: list[Scheme] = client_schemes(tiny_files, 1)[-2:]
    side = 16 * SIDE
    sheet = contact_sheet(schemes, ["a note", "another"], GRID, side)
    assert sheet.size == sheet_size(2, side) == (LABELS + 5 * (side + 10) + 10, HEADER + 2 * 42)
    pixels = np.asarray(sheet)
    wanted = whole_grid_scheme(tiny_files, Detokenizer(tiny_files.full), 1).paint("a", GRID)
    right = LABELS + 4 * (side + 10)
    for line in range(2):
        top = HEADER + line * (side + 10)
        assert np.array_equal(pixels[top : top + side, right : right + side], wanted)
        assert (pixels[top + SIDE + 1 : top + side, LABELS : LABELS + side] == PAPER).all()
        assert (pixels[top : top + side, : LABELS - 10] < 200).any()  # its label
