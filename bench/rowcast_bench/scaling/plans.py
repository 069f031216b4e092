"""What many viewers would need: replicas by simulation, gateways by arithmetic.

Each viewer asks for a picture a minute, drawn by Mega on H100s as they were measured. Replicas are
as many as leave `SPARE` of them free. That each dies once an hour in the mean, that a death is
noticed after `Plan.noticed_after` and a replica back after `Plan.back_after` are assumptions: the
pauses of a plan follow from them, and are none that were measured.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from .simulation import Plan, StepTimes, simulate

VIEWERS: Final = (1_000, 100_000, 1_000_000)
SECONDS_BETWEEN: Final = 60.0  # of a viewer's requests
SPARE: Final = 0.3
SLOTS: Final = 32
ROWS = COLS = 16
DEATH_EVERY: Final = 3_600.0
SECONDS: Final = {1_000: 600.0, 100_000: 120.0, 1_000_000: 30.0}
WARM_UP: Final = 5.0
MEASURED: Final = Path(__file__).parents[3] / "docs/measured/engine-mega-h100.txt"
Figures = dict[str, Any]


def mega_on_h100(measured: Path = MEASURED) -> StepTimes:
    """Seconds of a step with one picture and with 32, as `rowcast bench engine` printed them."""
    told = json.loads(measured.read_text("utf-8").splitlines()[-1])
    alone, all_slots = told["ours_picture_s"], SLOTS / told["batch32_pictures_per_s"]
    return StepTimes((1, SLOTS), (alone / (ROWS * COLS), all_slots / (ROWS * COLS)))


def worked(found: Figures, quick: bool) -> list[Figures]:
    """A plan for each of `VIEWERS`; ``found`` are the measured figures of a cluster."""
    steps = mega_on_h100()
    most = SLOTS / steps.of(SLOTS) / (ROWS * COLS)  # pictures a second of a replica
    plans = []
    for viewers in VIEWERS[: 1 if quick else None]:
        rate = viewers / SECONDS_BETWEEN
        replicas = math.ceil(rate / most / (1 - SPARE))
        result = simulate(
            Plan(
                replicas,
                SLOTS,
                steps,
                ROWS,
                COLS,
                rate,
                SECONDS[viewers],
                WARM_UP,
                death_every=DEATH_EVERY,
            )
        )
        rows = rate * ROWS
        cores = rows * found["cluster"]["gateway_cpu_ms_per_row"] / 1000
        plans.append(
            {
                "viewers": viewers,
                "pictures_per_s": rate,
                "replicas": replicas,
                "gateway_cores": math.ceil(cores / (1 - SPARE)),
                "rows_per_s": rows,
                "simulated_seconds": SECONDS[viewers],
                "waited_ms": _percentiles(result.waited),
                "first_row_ms": _percentiles(result.first_row),
                "picture_ms": _percentiles(result.whole),
                "deaths": result.deaths,
                "moved_pictures": len(result.pauses),
                "longest_pause_ms": 1000 * max(result.pauses, default=0.0),
                "lost_pictures": result.arrived - result.ended,
            }
        )
    return plans


def _percentiles(seconds: list[float]) -> Figures:
    """In milliseconds."""
    ranked = sorted(seconds)
    return {
        name: 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
