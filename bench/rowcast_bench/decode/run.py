"""`rowcast bench decode`: every tier of pixels, full decodes after each row, and min-dalle's way.

Cost is measured on a decoder of DALL·E Mini's size with random weights, quality on postcard with
pictures that it draws. All in one run, in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.models.sources import EMBEDDED

from .. import first_paint
from ..machine import gigaflops
from ..progress import Progress
from .bars import missed
from .client import last_pixels
from .figures import Costs, by_scheme, headline
from .files import F16, QUICK, DecoderFiles, held_out_grids, postcard_files, write_random
from .fillers import compare, filler_table, fillers
from .quality import Quality, qualities
from .report import show
from .schemes import Scheme, client_schemes, min_dalle_scheme
from .sheet import contact_sheet
from .times import measure

ROWS: Final = 16
SHEET_PICTURE: Final = 0
FILES: Final = "files of a decoder with random weights"
PEER: Final = "min-dalle's module"
CEILING: Final = "what the cores can multiply"
UPDATES: Final = "updates of each scheme, in turn"
COUNTS: Final = "counting operations"
PALETTE: Final = "the palette, from bytes to the canvas"
DRAWING: Final = "drawing pictures with postcard"
QUALITY: Final = "quality on postcard"
LAST: Final = "the client's last images"
GUESSES: Final = "guesses at the rows to come, on postcard"
PLAN: Final = (FILES, PEER, CEILING, UPDATES, COUNTS, PALETTE, DRAWING, QUALITY, LAST)


@dataclass(frozen=True)
class Effort:
    """Repetitions and sizes. ``is_real``: at DALL·E Mini's size, with min-dalle beside it."""

    is_real: bool
    rounds: int
    pictures: int
    client_pictures: int
    palette_pictures: int


THOROUGH: Final = Effort(True, 5, 24, 6, 200)
BRIEF: Final = Effort(False, 1, 2, 1, 5)


def run(threads: int, effort: Effort, sheet: Path | None, console: Console) -> dict[str, Any]:
    """Measure all and show it; returns the figures. ``sheet`` is where the contact sheet goes."""
    plan = PLAN if effort.is_real else [stage for stage in PLAN if stage != PEER]
    with (
        tempfile.TemporaryDirectory() as folder,
        _torch_threads(threads),
        Progress(console, plan) as progress,
    ):
        figures = _figures(threads, effort, sheet, Path(folder), progress)
    show(figures, console)
    return figures


def run_fillers(threads: int, pictures: int, console: Console) -> dict[str, Any]:
    """Compare the guesses at rows to come, and show it; returns dB by their names."""
    model = load(EMBEDDED)
    detokenizer = Detokenizer(model.detokenizer, threads)
    with Progress(console, [DRAWING, GUESSES]) as progress:
        grids = _grids(model, pictures, threads, progress)
        progress.stage(GUESSES, len(fillers(detokenizer.codebook_size)))
        found = compare(detokenizer, grids, progress.advance)
    console.print(filler_table(found, pictures))
    return {"pictures": pictures, "threads": threads, "fillers": found}


def _figures(
    threads: int, effort: Effort, sheet: Path | None, folder: Path, progress: Progress
) -> dict[str, Any]:
    """All figures of the JSON line; ``folder`` is empty."""
    progress.stage(FILES)
    (folder / "real").mkdir()
    real = write_random(F16 if effort.is_real else QUICK, folder / "real", progress.tell)
    schemes = client_schemes(real, threads)
    peer = min_dalle(progress) if effort.is_real else None
    if peer is not None:
        schemes.append(peer)
    codes, side = real.shape.codebook_size, real.shape.pixels_per_token
    costs = _costs(schemes, codes, threads, effort, progress)
    progress.stage(PALETTE, effort.palette_pictures)
    palette = real.palette.read_bytes()
    first = first_paint.measure(palette, codes, side, effort.palette_pictures, progress.advance)

    model = load(EMBEDDED)
    postcard = postcard_files(model)
    grids = _grids(model, effort.pictures, threads, progress)
    painters = client_schemes(postcard, threads)
    progress.stage(QUALITY, len(grids))
    quality = qualities(painters, Detokenizer(postcard.full, threads), grids, progress.advance)
    progress.stage(LAST, effort.client_pictures)
    last = last_pixels(model, effort.client_pictures, folder / "cache", progress.advance)
    if sheet is not None:
        _write_sheet(sheet, painters, quality, grids[SHEET_PICTURE], postcard)
    figures: dict[str, Any] = {
        "threads": threads,
        "rounds": effort.rounds,
        "pictures": effort.pictures,
        "torch": version("torch"),
        "min_dalle": None if peer is None else version("min-dalle"),
        **headline(costs, quality),
        "palette_ms": round(first.p99_ms, 3),
        "palette_ms_p50": round(first.p50_ms, 3),
        "palette_bytes": len(palette),
        "final_equal": last.is_equal,
        "final_pictures": last.pictures,
        "client_tiers": last.tiers,
        "schemes": by_scheme([*painters, *schemes], real.sizes, costs, quality),
    }
    figures["missed"] = missed(figures)
    return figures


def min_dalle(progress: Progress) -> Scheme | None:
    """min-dalle's way; None where it is not installed, and that is told."""
    progress.stage(PEER)
    try:
        return min_dalle_scheme()
    except ModuleNotFoundError as error:
        progress.console.print(f"min-dalle is left out: {error}")
        return None


def _costs(
    schemes: Sequence[Scheme], codes: int, threads: int, effort: Effort, progress: Progress
) -> Costs:
    """Times and operations of the schemes, on random ids below ``codes``."""
    progress.stage(CEILING)
    ceiling = gigaflops(threads)
    grid = np.random.default_rng(0).integers(0, codes, (ROWS, ROWS))
    progress.stage(UPDATES, effort.rounds * ROWS)
    times = measure(schemes, grid, effort.rounds, progress.tell, progress.advance)
    progress.stage(COUNTS, len(schemes))
    flops = {}
    for scheme in schemes:
        progress.tell(scheme.label)
        flops[scheme.name] = scheme.flops(ROWS)
        progress.advance()
    return Costs(times, flops, ceiling)


def _grids(
    model: LoadedModel, pictures: int, threads: int, progress: Progress
) -> NDArray[np.int64]:
    progress.stage(DRAWING, pictures * model.grid.rows)
    return held_out_grids(model, pictures, threads, progress.advance)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """torch with so many threads, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write_sheet(
    path: Path,
    schemes: Sequence[Scheme],
    quality: dict[str, Quality],
    grid: NDArray[np.int64],
    files: DecoderFiles,
) -> None:
    notes = [
        f"{quality[scheme.name].psnr_db_of_final:.1f} dB of the final picture's rows"
        for scheme in schemes
    ]
    side = len(grid) * files.shape.pixels_per_token
    contact_sheet(schemes, notes, grid, side).save(path, optimize=True)
