"""Each scheme paints the rows that it is given."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.pixels.detokenizer import GUESSED_ROWS, Detokenizer
from rowcast.pixels.palette import PAPER
from rowcast_bench.decode.files import DecoderFiles
from rowcast_bench.decode.schemes import Scheme, client_schemes, min_dalle_scheme
from rowcast_bench.decode.sheet import (
    HEADER,
    LABELS,
    contact_sheet,
    sheet_size,
)

GRID = np.random.default_rng(0).integers(0, 50, (16, 16))
SIDE = 2


def test_pixels_of_the_rows_so_far(tiny_files: DecoderFiles) -> None:
    schemes = client_schemes(tiny_files, 1)
    assert [each.name for each in schemes if each.is_final] == ["full", "rows_so_far", "whole_grid"]
    for scheme in schemes:
        assert scheme.paint(GRID[:3]).shape == (3 * SIDE, 16 * SIDE, 3)
        assert len(scheme.flops(16)) == 16
    first, *others = [each.paint(GRID) for each in schemes if each.is_final]
    assert all(np.array_equal(first, other) for other in others)


def test_operations_of_guessed_rows_are_those_of_the_rows_that_are_decoded(
    tiny_files: DecoderFiles,
) -> None:
    flops = {each.name: each.flops(16) for each in client_schemes(tiny_files, 1)}
    guessed, so_far = flops["full"], flops["rows_so_far"]
    assert guessed == [*so_far[GUESSED_ROWS:], *[so_far[-1]] * GUESSED_ROWS]
    assert max(guessed) == flops["whole_grid"][0]


def test_min_dalles_module_paints_the_whole_grid() -> None:
    scheme = min_dalle_scheme()
    pixels = scheme.paint(GRID[:2])
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
    wanted = Detokenizer(tiny_files.full, 1).decode(GRID[None])[0]
    right = LABELS + 4 * (side + 10)
    for line in range(2):
        top = HEADER + line * (side + 10)
        assert np.array_equal(pixels[top : top + side, right : right + side], wanted)
        assert (pixels[top + SIDE + 1 : top + side, LABELS : LABELS + side] == PAPER).all()
        assert (pixels[top : top + side, : LABELS - 10] < 200).any()  # its label
