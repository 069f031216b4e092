"""Fillers keep the rows held, and what the client itself guesses is one of them."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.pixels.detokenizer import GUESSED_ROWS, Detokenizer
from rowcast_bench.decode.files import DecoderFiles
from rowcast_bench.decode.fillers import compare, fillers, report

ROWS, CODES = 5, 50
GRID = np.array([[1, 2, 2], [3, 7, 7]])
BELOW = {
    "none": [],
    "one fixed code, the last": [[49] * 3] * 3,
    "commonest code of the last row": [[7] * 3] * 3,
    "commonest code of all rows": [[2] * 3] * 3,
    "mirrored rows": [[3, 7, 7], [1, 2, 2], [1, 2, 2]],
    "last row repeated to the end": [[3, 7, 7]] * 3,
    **{f"last row repeated, at most {most}": [[3, 7, 7]] * min(most, 3) for most in range(1, 9)},
}


def test_what_each_guesses_below_the_rows_held() -> None:
    assert {name: fill(GRID, ROWS)[2:].tolist() for name, fill in fillers(CODES).items()} == BELOW
    for fill in fillers(CODES).values():
        assert np.array_equal(fill(GRID, ROWS)[:2], GRID)
        assert np.array_equal(fill(GRID, 2), GRID)  # nothing is left to guess


@pytest.mark.parametrize("held", [1, 9, 12, 16])
def test_the_client_guesses_as_the_filler_of_its_name(tiny_files: DecoderFiles, held: int) -> None:
    detokenizer, side = Detokenizer(tiny_files.full), 2
    grid = np.random.default_rng(0).integers(0, CODES, (held, 4))
    filled = fillers(CODES)[f"last row repeated, at most {GUESSED_ROWS}"](grid, 16)
    wanted = detokenizer.decode(filled[None])[0][: held * side]
    assert np.array_equal(detokenizer.paint(grid, 16)[: held * side], wanted)


def test_what_is_guessed_right_is_the_final_picture(tiny_files: DecoderFiles) -> None:
    rows = np.random.default_rng(0).integers(0, CODES, (2, 1, 4))
    grids = rows.repeat(4, axis=1)  # each row like the first
    found = compare(Detokenizer(tiny_files.full), grids)
    assert found.keys() == BELOW.keys()
    right = {"mirrored rows", "last row repeated to the end"}
    right |= {f"last row repeated, at most {most}" for most in range(3, 9)}
    assert {name for name, values in found.items() if values["mean_db"] >= 120} == right
    lines = [line for line in report(found, 2).splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(BELOW)
