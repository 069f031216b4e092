"""Cost against quality of incremental decoding, by how many half rows are redone.

Cost: operations counted in exported graphs of the f16 decoder at its real size, with random
weights. Quality: postcard, on pictures that it draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rowcast.detokenizer import Detokenizer
from rowcast_export.incremental_calibration import calibrate
from rowcast_server.models.loading import LoadedModel

from .decode_bars import COST, QUALITY, bars_kept
from .decode_files import DecoderFiles, postcard_decoder
from .decode_flops import FlopCounter, UpdateCounter
from .decode_quality import qualities, rounded
from .decode_schemes import torch_scheme

ROWS: Final = 16
REDONE: Final = (1, 2, 3, 4, 5, 6, 8)  # half rows, unless told otherwise


@dataclass(frozen=True)
class Costs:
    """In full decodes, counted: all updates with the final decode, and each update."""

    total_full_decodes: float
    update_full_decodes_max: float
    update_full_decodes: list[float]


@dataclass(frozen=True)
class Point:
    """Of one window: what it costs and how good it is, under the names of the bars."""

    redone_half_rows: int
    total_full_decodes: float
    update_full_decodes_max: float
    incremental_psnr_db: float
    psnr_db_of_final: float
    seam_ratio: float | None

    @property
    def label(self) -> str:
        return f"{self.redone_half_rows / 2:g}"


def costs(
    files: DecoderFiles, redone: Sequence[int], every: int = 1, threads: int = 1
) -> dict[int, Costs]:
    """By redone half rows, an update every so many rows."""
    [whole] = FlopCounter(files.full, threads).decodes([ROWS], ROWS)
    counter = UpdateCounter(files.incremental, threads)
    found = {}
    for half_rows in redone:
        shares = [each / whole for each in counter.updates(ROWS, ROWS, every, half_rows)]
        rounded = [round(share, 3) for share in shares]
        found[half_rows] = Costs(round(sum(shares) + 1, 3), max(rounded), rounded)
    return found


def curve(
    real: DecoderFiles,
    model: LoadedModel,
    grids: NDArray[np.int64],
    redone: Sequence[int],
    every: int,
    threads: int,
    tell: Callable[[str], object] = lambda text: None,
) -> list[Point]:
    """Cost of the files ``real``, quality of ``model`` on the ``grids`` that it drew."""
    tell("counting the operations of updates")
    cost = costs(real, redone, every, threads)
    decoder, _ = postcard_decoder(model.detokenizer.parent)
    tell("calibrating the norms of narrow windows")
    calibration = calibrate(decoder)
    detokenizer = Detokenizer(model.detokenizer, threads)
    points = []
    for half_rows in redone:
        tell(f"{half_rows / 2:g} rows redone, on postcard")
        scheme = torch_scheme(decoder, calibration, half_rows, every)
        quality = qualities([scheme], detokenizer, grids)[scheme.name]
        points.append(
            Point(
                half_rows,
                cost[half_rows].total_full_decodes,
                cost[half_rows].update_full_decodes_max,
                round(quality.psnr_db, 2),
                round(quality.psnr_db_of_final, 2),
                rounded(quality.seam_beyond_full),
            )
        )
    return points


def best_points(points: Sequence[Point]) -> list[tuple[str, Point]]:
    """What to choose: the best within the bars of cost, and the cheapest with the quality."""
    found = []
    cheap = [point for point in points if bars_kept(asdict(point), COST)]
    good = [point for point in points if bars_kept(asdict(point), QUALITY)]
    if cheap:
        best = max(cheap, key=lambda point: point.incremental_psnr_db)
        found.append(("the best within the bars of cost", best))
    if good:
        cheapest = min(good, key=lambda point: point.total_full_decodes)
        found.append(("the cheapest with the quality", cheapest))
    return found


def curve_table(points: Sequence[Point], every: int) -> Table:
    """For reading."""
    table = Table(
        "rows redone",
        "all updates and final decode",
        "worst update",
        "dB, rows so far",
        "dB, final picture",
        "seam by full's",
        title="incremental decoding, an update every "
        f"{'row' if every == 1 else f'{every} rows'}: costs counted, in full decodes",
        box=SIMPLE_HEAD,
    )
    for point in points:
        _, *values = asdict(point).values()
        table.add_row(point.label, *("" if value is None else f"{value:g}" for value in values))
    return table


def as_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """For the last line."""
    return [asdict(point) for point in points]
