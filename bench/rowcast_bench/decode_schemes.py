"""The ways to show a picture while it forms that `rowcast bench decode` compares.

A scheme is made by one function here, from the files of a decoder. The tiers of the client come
first, then what a client would do without them, and what min-dalle does on its server.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rowcast.detokenizer import Detokenizer
from rowcast.incremental import IncrementalDecoder
from rowcast.palette import Palette
from rowcast_export.incremental import Calibration, IncrementalModule
from rowcast_export.incremental_file import CARRIED_FROM
from rowcast_export.incremental_painting import Painting, TorchUpdater
from rowcast_export.runtime import to_bytes
from rowcast_export.vqgan import VQGANDecoder

from .decode_files import DecoderFiles
from .decode_flops import FlopCounter, UpdateCounter

MIN_DALLE_EVERY: Final = 2  # rows a picture of its stream
MIN_DALLE_GRID: Final = 16
MIN_DALLE_SIDE: Final = 16  # pixels a token

Grid = NDArray[np.integer[Any]]  # [rows held, cols]
Pixels = NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True)
class Scheme:
    """One way. ``paint`` (a key of the picture, its rows so far) makes the pixels of an update.

    An update comes every ``every`` rows. Where ``is_final`` the last update is the full decode of
    the whole picture; after the others that one follows. ``is_constant``: all updates of a picture
    cost the same. ``flops`` (rows of a whole picture) counts the operations of each update.
    ``kind`` is that of the file that is downloaded for it.
    """

    name: str
    label: str
    kind: str
    paint: Callable[[Hashable, Grid], Pixels]
    flops: Callable[[int], list[int]]
    every: int = 1
    is_final: bool = False
    is_constant: bool = False


def client_schemes(files: DecoderFiles, threads: int) -> list[Scheme]:
    """All but min-dalle's; the preview is left out where there is none."""
    detokenizer = Detokenizer(files.full, threads)
    schemes = [palette_scheme(files), incremental_scheme(files, threads)]
    if files.preview is not None:
        schemes.insert(1, preview_scheme(files, threads))
    return [
        *schemes,
        rows_so_far_scheme(files, detokenizer, threads),
        whole_grid_scheme(files, detokenizer, threads),
    ]


def palette_scheme(files: DecoderFiles) -> Scheme:
    shape = files.shape
    palette = Palette(files.palette.read_bytes(), shape.codebook_size, shape.pixels_per_token)
    return Scheme(
        "palette",
        "palette",
        "palette",
        lambda picture, grid: palette.decode(grid[None])[0],
        lambda rows: [0] * rows,
    )


def preview_scheme(files: DecoderFiles, threads: int) -> Scheme:
    path = files.preview
    assert path is not None
    preview = Detokenizer(path, threads)
    return Scheme(
        "preview",
        "preview",
        "preview",
        lambda picture, grid: preview.decode(grid[None])[0],
        lambda rows: FlopCounter(path, threads).decodes(range(1, rows + 1), rows),
    )


def incremental_scheme(files: DecoderFiles, threads: int, every: int = 1) -> Scheme:
    decoder = IncrementalDecoder(files.incremental, threads, pictures=1)
    return Scheme(
        "incremental",
        f"incremental, {decoder.redone_half_rows / 2:g} redone",
        "incremental",
        decoder.paint,
        lambda rows: UpdateCounter(files.incremental, threads).updates(rows, rows, every),
        every,
    )


def torch_scheme(
    decoder: VQGANDecoder, calibration: Calibration, redone_half_rows: int, every: int
) -> Scheme:
    """Incremental decoding as the exporter's module computes it, with a window of that size.

    Not traced, so its operations are not counted here.
    """
    is_narrow = redone_half_rows < CARRIED_FROM
    updater = TorchUpdater(IncrementalModule(decoder, calibration if is_narrow else None))
    paintings: dict[Hashable, Painting] = {}

    def paint(picture: Hashable, grid: Grid) -> Pixels:
        if picture not in paintings:
            paintings.clear()
            paintings[picture] = Painting(updater, redone_half_rows)
        shown: Pixels = to_bytes(paintings[picture].show(grid[None].astype(np.int64)))[0]
        return shown

    label = f"incremental, {redone_half_rows / 2:g} redone"
    return Scheme("incremental", label, "incremental", paint, lambda rows: [], every)


def rows_so_far_scheme(
    files: DecoderFiles, detokenizer: Detokenizer, threads: int, every: int = 1
) -> Scheme:
    return Scheme(
        "rows_so_far",
        "full, the rows so far",
        "full",
        lambda picture, grid: detokenizer.decode(grid[None])[0],
        lambda rows: FlopCounter(files.full, threads).decodes(range(every, rows + 1, every), rows),
        every,
        is_final=True,
    )


def whole_grid_scheme(
    files: DecoderFiles, detokenizer: Detokenizer, threads: int, rows: int = MIN_DALLE_GRID
) -> Scheme:
    """Rows that are not drawn yet are filled with the last code, as min-dalle fills them."""
    filler, side = files.shape.codebook_size - 1, files.shape.pixels_per_token

    def paint(picture: Hashable, grid: Grid) -> Pixels:
        pixels: Pixels = detokenizer.decode(filled(grid, rows, filler)[None])[0]
        return pixels[: len(grid) * side]

    def flops(rows: int) -> list[int]:
        return FlopCounter(files.full, threads).decodes([rows], rows) * rows

    name, label = "whole_grid", "full, the whole grid"
    return Scheme(name, label, "full", paint, flops, is_final=True, is_constant=True)


def min_dalle_scheme() -> Scheme:
    """min-dalle's own torch module, with random weights, as it is called after every second row.

    Raises ModuleNotFoundError where it is not installed.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from .min_dalle_modules import VQGanDetokenizer

    module = VQGanDetokenizer().eval()
    filler, side = module.vocab_count - 1, MIN_DALLE_SIDE

    def decode(grid: NDArray[np.int64]) -> Any:
        with torch.inference_mode():
            return module(False, torch.from_numpy(grid.reshape(1, -1)))

    def paint(picture: Hashable, grid: Grid) -> Pixels:
        pixels = decode(filled(grid, MIN_DALLE_GRID, filler))
        shown: Pixels = pixels.to(torch.uint8).numpy()
        return shown[: len(grid) * side]

    def flops(rows: int) -> list[int]:
        with FlopCounterMode(display=False) as counter:
            decode(np.zeros((MIN_DALLE_GRID, MIN_DALLE_GRID), np.int64))
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


def filled(grid: Grid, rows: int, filler: int) -> NDArray[np.int64]:
    """[rows, cols]: the rows held, and the filler below."""
    whole = np.full((rows, grid.shape[1]), filler, np.int64)
    whole[: len(grid)] = grid
    return whole
