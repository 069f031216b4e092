"""Fillers: guesses at the rows that are still to come, which a full decoder sees below those held.

Its norms and its attention span the whole picture, so pixels of the rows held depend on what
stands below. `compare` shows how near each guess comes to the final picture; the client's own is
the last row repeated ``GUESSED_ROWS`` times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.detokenizer import Detokenizer

from ..markdown import table
from .similarity import psnr

Grid = NDArray[np.integer[Any]]  # [rows, cols]
Filler = Callable[[Grid, int], NDArray[np.int64]]  # the rows held, rows of a whole picture
REPEATS: Final = range(1, 9)


def nothing(grid: Grid, rows: int) -> NDArray[np.int64]:
    """No guess: the rows held alone."""
    return grid.astype(np.int64)


def one_code(code: Callable[[Grid], int], grid: Grid, rows: int) -> NDArray[np.int64]:
    """Below the rows held one code, which may depend on them."""
    whole = np.full((rows, grid.shape[1]), code(grid), np.int64)
    whole[: len(grid)] = grid
    return whole


def last_code(codebook_size: int) -> Filler:
    """The last code of the codebook, as min-dalle fills its grids."""
    return partial(one_code, lambda grid: codebook_size - 1)


def commonest(grid: Grid) -> int:
    """The code that occurs most often in a grid; of several the least."""
    return int(np.bincount(grid.ravel()).argmax())


def mirrored(grid: Grid, rows: int) -> NDArray[np.int64]:
    """The rows held from the last one up, then down again, and so on."""
    return np.pad(grid.astype(np.int64), ((0, rows - len(grid)), (0, 0)), mode="symmetric")


def repeated(most: int | None, grid: Grid, rows: int) -> NDArray[np.int64]:
    """The last row repeated at most so many times, None: to the grid's end."""
    more = rows - len(grid) if most is None else min(most, rows - len(grid))
    return np.pad(grid.astype(np.int64), ((0, more), (0, 0)), mode="edge")


def fillers(codebook_size: int) -> dict[str, Filler]:
    """All guesses that are compared, by what they are called in the table."""
    return {
        "none": nothing,
        "one fixed code, the last": last_code(codebook_size),
        "commonest code of the last row": partial(one_code, lambda grid: commonest(grid[-1])),
        "commonest code of all rows": partial(one_code, commonest),
        "mirrored rows": mirrored,
        "last row repeated to the end": partial(repeated, None),
        **{f"last row repeated, at most {most}": partial(repeated, most) for most in REPEATS},
    }


def compare(
    detokenizer: Detokenizer,
    grids: NDArray[np.integer[Any]],
    advance: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Median and mean dB of each filler by name, from the same rows of the final picture.

    Over all of ``grids`` [pictures, rows, cols] and every number of rows but the last.
    ``advance`` is called with every filler.
    """
    rows, side = grids.shape[1], detokenizer.pixels_per_token
    finals = detokenizer.decode(grids)
    found = {}
    for name, fill in fillers(detokenizer.codebook_size).items():
        values: list[float] = []
        for held in range(1, rows):
            filled = np.stack([fill(grid[:held], rows) for grid in grids])
            shown = detokenizer.decode(filled)[:, : held * side]
            values += map(psnr, shown, finals[:, : held * side])
        found[name] = {
            "median_db": round(float(np.median(values)), 2),
            "mean_db": round(float(np.mean(values)), 2),
        }
        advance()
    return found


def report(found: Mapping[str, Mapping[str, float]], pictures: int) -> str:
    """The same in Markdown."""
    lines = [(name, *values.values()) for name, values in found.items()]
    return f"""\
{pictures} held-out pictures of postcard; full decodes after each row, against the same rows of the
final picture:

{table(("guessed below the rows held", "dB, median", "mean"), lines)}"""
