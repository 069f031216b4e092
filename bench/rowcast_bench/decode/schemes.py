"""Schemes of showing a picture while it forms that `rowcast bench decode` compares.

The tiers of the client come first, each under its own name, then what a client could do instead,
and what min-dalle does on its server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.detokenizer import GUESSED_ROWS, Detokenizer
from rowcast.pixels.palette import Palette

from .files import DecoderFiles
from .fillers import last_code
from .flops import FlopCounter

MIN_DALLE_EVERY: Final = 2  # rows a picture of its stream
GRID_ROWS: Final = 16  # of a whole picture, min-dalle's and all of ours here
MIN_DALLE_SIDE: Final = 16  # pixels a token

Grid = NDArray[np.integer[Any]]  # [rows held, cols]
Pixels = NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True)
class Scheme:
    """One way to show the rows so far. ``paint`` makes the pixels of an update from them.

    An update comes every ``every`` rows. Where ``is_final`` the last update is the full decode of
    the whole picture; after the others that one follows. ``is_constant``: all updates of a picture
    cost the same. ``flops`` (rows of a whole picture) counts the operations of each update.
    ``kind`` is that of the file that is downloaded for it.
    """

    name: str
    label: str
    kind: str
    paint: Callable[[Grid], Pixels]
    flops: Callable[[int], list[int]]
    every: int = 1
    is_final: bool = False
    is_constant: bool = False


def client_schemes(files: DecoderFiles, threads: int) -> list[Scheme]:
    """All schemes but min-dalle's, with the ``files`` of one decoder."""
    full, preview = Detokenizer(files.full, threads), Detokenizer(files.preview, threads)
    palette = Palette(files.palette.read_bytes(), full.codebook_size, full.pixels_per_token)
    fill = last_code(full.codebook_size)

    def whole(grid: Grid) -> Pixels:
        return cropped(full.decode(fill(grid, GRID_ROWS)[None])[0], grid, full)

    @cache
    def counter(path: Path) -> FlopCounter:  # made where it counts: it holds the weights twice
        return FlopCounter(path, threads)

    def counts(path: Path, seen: Callable[[int, int], int]) -> Callable[[int], list[int]]:
        """Operations of decodes that see so many rows, of those held and those of a picture."""
        return lambda rows: counter(path).decodes(
            (seen(held, rows) for held in range(1, rows + 1)), rows
        )

    return [
        # The tiers, as the client itself paints with them: a picture of each code beside the next,
        # the small decoder on the rows so far, and the full one with guessed rows below them.
        Scheme(
            "palette",
            "palette",
            "palette",
            lambda grid: palette.decode(grid[None])[0],
            lambda rows: [0] * rows,
        ),
        Scheme(
            "preview",
            "preview",
            "preview",
            lambda grid: preview.decode(grid[None])[0],
            counts(files.preview, lambda held, rows: held),
        ),
        Scheme(
            "full",
            "full, rows guessed below",
            "full",
            lambda grid: cropped(full.paint(grid, GRID_ROWS), grid, full),
            counts(files.full, lambda held, rows: min(held + GUESSED_ROWS, rows)),
            is_final=True,
        ),
        # The full decoder on the rows held and nothing else, and as min-dalle fills its grids.
        Scheme(
            "rows_so_far",
            "full, the rows so far",
            "full",
            lambda grid: full.decode(grid[None])[0],
            counts(files.full, lambda held, rows: held),
            is_final=True,
        ),
        Scheme(
            "whole_grid",
            "full, the whole grid",
            "full",
            whole,
            counts(files.full, lambda held, rows: rows),
            is_final=True,
            is_constant=True,
        ),
    ]


def min_dalle_scheme() -> Scheme:
    """min-dalle's own torch module, with random weights, as it is called after every second row.

    Raises ModuleNotFoundError where it is not installed.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ..min_dalle_modules import VQGanDetokenizer

    module = VQGanDetokenizer().eval()
    fill = last_code(module.vocab_count)

    def decode(grid: NDArray[np.int64]) -> Any:
        with torch.inference_mode():
            return module(False, torch.from_numpy(grid.reshape(1, -1)))

    def paint(grid: Grid) -> Pixels:
        shown: Pixels = decode(fill(grid, GRID_ROWS)).to(torch.uint8).numpy()
        return shown[: len(grid) * MIN_DALLE_SIDE]

    def flops(rows: int) -> list[int]:
        with FlopCounterMode(display=False) as counter:
            decode(np.zeros((GRID_ROWS, GRID_ROWS), np.int64))
        return [int(counter.get_total_flops())] * (rows // MIN_DALLE_EVERY)

    return Scheme(
        "min_dalle",
        "min-dalle, every 2nd row",
        "full",
        paint,
        flops,
        MIN_DALLE_EVERY,
        is_final=True,
        is_constant=True,
    )


def cropped(pixels: Pixels, grid: Grid, detokenizer: Detokenizer) -> Pixels:
    """The pixels of the rows held."""
    return pixels[: len(grid) * detokenizer.pixels_per_token]
