"""`rowcast bench decode`: every tier of pixels, full decodes after each row, and min-dalle's way.

Cost is measured on a decoder of DALL·E Mini's size with random weights, quality on postcard with
pictures that it draws. All in one run, in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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

from ..machine import gigaflops
from ..progress import Progress
from .client import last_images_are_full_decodes
from .figures import Costs, figures_of, report
from .files import F16, QUICK, decoder_files, held_out_grids, write_random
from .fillers import compare
from .fillers import fillers as all_fillers
from .fillers import report as filler_report
from .quality import qualities
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
DRAWING: Final = "drawing pictures with postcard"
QUALITY: Final = "quality on postcard"
LAST: Final = "the client's last images"
GUESSES: Final = "guesses at the rows to come, on postcard"
PLAN: Final = (FILES, PEER, CEILING, UPDATES, COUNTS, DRAWING, QUALITY, LAST)


@dataclass(frozen=True)
class Effort:
    """Repetitions and sizes. ``is_real``: at DALL·E Mini's size, with min-dalle beside it."""

    is_real: bool
    rounds: int
    pictures: int
    client_pictures: int


THOROUGH: Final = Effort(True, 5, 24, 6)
BRIEF: Final = Effort(False, 1, 2, 1)


def run(
    console: Console,
    quick: bool,
    threads: int,
    rounds: int | None,
    pictures: int | None,
    sheet: Path,
    fillers: bool,
) -> tuple[dict[str, Any], str]:
    """Measure all, or the guesses at rows to come alone; the contact sheet goes to ``sheet``."""
    effort = BRIEF if quick else THOROUGH
    effort = replace(effort, rounds=rounds or effort.rounds, pictures=pictures or effort.pictures)
    if fillers:
        found = _fillers(threads, effort.pictures, console)
        figures = {"pictures": effort.pictures, "threads": threads, "fillers": found}
        return figures, filler_report(found, effort.pictures)
    plan = PLAN if effort.is_real else [stage for stage in PLAN if stage != PEER]
    with (
        tempfile.TemporaryDirectory() as folder,
        _torch_threads(threads),
        Progress(console, plan) as progress,
    ):
        figures = _figures(threads, effort, sheet, Path(folder), progress)
    return figures, report(figures)


def _fillers(threads: int, pictures: int, console: Console) -> dict[str, dict[str, float]]:
    """dB of the guesses at rows to come, by their names."""
    model = load(EMBEDDED)
    detokenizer = Detokenizer(model.detokenizer, threads)
    with Progress(console, [DRAWING, GUESSES]) as progress:
        grids = _grids(model, pictures, threads, progress)
        progress.stage(GUESSES, len(all_fillers(detokenizer.codebook_size)))
        return compare(detokenizer, grids, progress.advance)


def _figures(
    threads: int, effort: Effort, sheet: Path, folder: Path, progress: Progress
) -> dict[str, Any]:
    """All figures of the JSON line; ``folder`` is empty."""
    progress.stage(FILES)
    (folder / "real").mkdir()
    real = write_random(F16 if effort.is_real else QUICK, folder / "real", progress.tell)
    schemes = client_schemes(real, threads)
    peer = min_dalle(progress) if effort.is_real else None
    if peer is not None:
        schemes.append(peer)
    costs = _costs(schemes, real.codebook_size, threads, effort, progress)

    model = load(EMBEDDED)
    postcard = decoder_files(model.detokenizer, {})
    grids = _grids(model, effort.pictures, threads, progress)
    painters = client_schemes(postcard, threads)
    progress.stage(QUALITY, len(grids))
    quality = qualities(painters, Detokenizer(postcard.full, threads), grids, progress.advance)
    progress.stage(LAST, effort.client_pictures)
    cache = folder / "cache"
    near = [quality[each.name].psnr_db_of_final for each in painters]
    notes = [f"{value:.1f} dB of the final picture's rows" for value in near]
    side = model.grid.rows * model.pixels_per_token
    contact_sheet(painters, notes, grids[SHEET_PICTURE], side).save(sheet, optimize=True)
    return {
        "threads": threads,
        "rounds": effort.rounds,
        "pictures": effort.pictures,
        "decoder": "a decoder of DALL·E Mini's size" if effort.is_real else "a small decoder",
        "min_dalle": "left out" if peer is None else version("min-dalle"),
        "final_equal": last_images_are_full_decodes(
            model, effort.client_pictures, cache, progress.advance
        ),
        **figures_of(schemes, real.sizes, costs, quality),
    }


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
