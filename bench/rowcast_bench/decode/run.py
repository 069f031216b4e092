"""`rowcast bench decode`: every tier of pixels, full decodes after each row, and min-dalle's way.

Cost is measured on a decoder of DALL·E Mini's size with random weights, quality on postcard with
pictures that it draws. All in one run, in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED

from .bars import missed
from .client import first_pixels, last_pixels
from .figures import WHOLE, by_scheme, headline
from .files import F16, QUICK, DecoderFiles, held_out_grids, postcard_files, write_random
from .fillers import compare, filler_table, fillers
from .quality import Quality, qualities
from .report import show
from .schemes import Scheme, client_schemes, min_dalle_scheme
from .sheet import contact_sheet
from .times import measure

ROWS: Final = 16
SHEET_PICTURE: Final = 0


@dataclass(frozen=True)
class Effort:
    """How much is measured. ``is_real``: at DALL·E Mini's size, with min-dalle beside it."""

    is_real: bool
    rounds: int
    pictures: int
    client_pictures: int
    palette_pictures: int


THOROUGH: Final = Effort(True, 5, 24, 6, 200)
BRIEF: Final = Effort(False, 1, 2, 1, 5)


def run(threads: int, effort: Effort, sheet: Path | None, console: Console) -> dict[str, Any]:
    """Measure all and show it; returns the figures. ``sheet`` is where the contact sheet goes."""
    with _Bench(threads, console) as bench:
        figures = bench.figures(effort, sheet)
    show(figures, console)
    return figures


def run_fillers(threads: int, pictures: int, console: Console) -> dict[str, Any]:
    """Compare the guesses at rows to come, and show it; returns dB by their names."""
    with _Bench(threads, console) as bench:
        found = bench.fillers(pictures)
    console.print(filler_table(found, pictures))
    return {"pictures": pictures, "fillers": found}


class _Bench:
    """The files, in a folder that is removed at the end, and the progress shown."""

    def __init__(self, threads: int, console: Console) -> None:
        self._threads = threads
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._model = load(EMBEDDED)

    def __enter__(self) -> _Bench:
        self._folder = tempfile.TemporaryDirectory()
        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()
        torch.set_num_threads(self._torch_threads)
        self._folder.cleanup()

    def figures(self, effort: Effort, sheet: Path | None) -> dict[str, Any]:
        """All figures of the JSON line."""
        real, postcard = self._real(effort), postcard_files(self._model)
        schemes = client_schemes(real, self._threads)
        peer = self._peer() if effort.is_real else None
        if peer is not None:
            schemes.append(peer)
        grid = np.random.default_rng(0).integers(0, real.shape.codebook_size, (ROWS, ROWS))
        self._expect(effort.rounds * ROWS)
        times = measure(schemes, grid, effort.rounds, self._tell, self._advance)
        self._expect(len(schemes))
        flops = {scheme.name: self._flops(scheme) for scheme in schemes}
        self._expect(None, "the palette, from bytes to the canvas")
        first = first_pixels(real, effort.palette_pictures)

        grids = self._grids(effort.pictures)
        painters = client_schemes(postcard, self._threads)
        detokenizer = Detokenizer(postcard.full, self._threads)
        self._expect(len(grids), "quality on postcard")
        quality = qualities(painters, detokenizer, grids, self._advance)
        self._expect(effort.client_pictures, "the client's last images")
        last = last_pixels(
            self._model,
            effort.client_pictures,
            Path(self._folder.name, "cache"),
            self._advance,
        )
        if sheet is not None:
            _write_sheet(sheet, painters, quality, grids[SHEET_PICTURE], postcard)
        figures: dict[str, Any] = {
            "threads": self._threads,
            "rounds": effort.rounds,
            "pictures": effort.pictures,
            "torch": version("torch"),
            "min_dalle": None if peer is None else version("min-dalle"),
            **headline(times, flops, quality),
            "palette_ms": round(first.p99_ms, 3),
            "palette_ms_p50": round(first.p50_ms, 3),
            "palette_bytes": real.sizes["palette", "uint8"],
            "final_equal": last.is_equal,
            "final_pictures": last.pictures,
            "client_tiers": last.tiers,
            "full_gflop": round(flops[WHOLE][-1] / 1e9, 1),
            "schemes": by_scheme([*painters, *schemes], real.sizes, times, flops, quality),
        }
        figures["missed"] = missed(figures)
        return figures

    def fillers(self, pictures: int) -> dict[str, dict[str, float]]:
        """Decibels of each guess at the rows to come."""
        grids, detokenizer = (
            self._grids(pictures),
            Detokenizer(self._model.detokenizer, self._threads),
        )
        self._expect(len(fillers(detokenizer.codebook_size)), "guesses, on postcard")
        return compare(detokenizer, grids, self._advance)

    def _real(self, effort: Effort) -> DecoderFiles:
        folder = Path(self._folder.name, "real")
        folder.mkdir()
        return write_random(F16 if effort.is_real else QUICK, folder, self._tell)

    def _peer(self) -> Scheme | None:
        """min-dalle's way; None where it is not installed, and that is told."""
        self._tell("building min-dalle's module")
        try:
            return min_dalle_scheme()
        except ModuleNotFoundError as error:
            self._bar.console.print(f"min-dalle is left out: {error}")
            return None

    def _grids(self, pictures: int) -> NDArray[np.int64]:
        self._expect(pictures * self._model.grid.rows, "drawing pictures with postcard")
        return held_out_grids(self._model, pictures, self._threads, self._advance)

    def _flops(self, scheme: Scheme) -> list[int]:
        self._tell(f"counting operations: {scheme.label}")
        counts = scheme.flops(ROWS)
        self._advance()
        return counts

    def _expect(self, steps: int | None, what: str = "") -> None:
        self._bar.reset(self._task, total=steps)
        self._tell(what)

    def _tell(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def _advance(self) -> None:
        self._bar.advance(self._task)


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
