"""`rowcast bench engine --device cuda`: whole pictures on a GPU, min-dalle and ours in turn."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rowcast.cache import default_cache
from rowcast_server.placement import place

from ..progress import Progress
from .random_model import random_model
from .sides import MinDalle, Ours
from .worker import Worker

ROUNDS: Final = 3
MANY: Final = 32  # pictures at once


def run(
    size: str, device: str, dtype: str | None, threads: int, console: Console
) -> dict[str, Any]:
    """Measure; returns the figures. Raises RowcastError where there is no such device."""
    placement = place(device, dtype)
    folder = random_model(size, default_cache(), console.print)
    alone: dict[str, list[float]] = {"min_dalle": [], "ours": []}
    first: list[float] = []
    many: list[float] = []
    where = (placement.device, placement.dtype)
    starting, turn = "loading both, and a first picture of each", "pictures of both, in turn"
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(console, [starting, *[turn] * ROUNDS]))
        progress.stage(starting)
        theirs = stack.enter_context(Worker(MinDalle, folder, size, threads, *where))
        ours = stack.enter_context(Worker(Ours, folder, threads, MANY, *where))
        theirs.call("seconds_per_picture", 1)  # what is made at the first use is not counted
        ours.call("seconds_per_picture", 1)
        for _ in range(ROUNDS):
            progress.stage(turn)
            alone["min_dalle"].append(theirs.call("seconds_per_picture", 1))
            row, picture = ours.call("seconds_per_picture", 1)
            first.append(row)
            alone["ours"].append(picture)
            many.append(ours.call("seconds_per_picture", MANY)[1])
    peer, mine = (statistics.median(alone[name]) for name in alone)
    together = statistics.median(many)
    figures = {
        "size": size,
        "device": placement.device,
        "dtype": placement.dtype,
        "min_dalle_picture_s": round(peer, 3),
        "ours_picture_s": round(mine, 3),
        "ours_first_row_ms": round(statistics.median(first) * 1e3, 1),
        "single_ratio": round(peer / mine, 1),
        "batch32_ratio": round(MANY * peer / together, 1),
    }
    table = Table(f"{size}, {placement.device}, {placement.dtype}", "min-dalle", "ours")
    table.add_row("one picture, s", f"{peer:.2f}", f"{mine:.2f}")
    table.add_row("its first row, ms", "", f"{figures['ours_first_row_ms']}")
    table.add_row(f"{MANY} pictures at once, a second", "", f"{MANY / together:.1f}")
    console.print(table)
    return figures
