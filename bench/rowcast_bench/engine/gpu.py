"""`rowcast bench engine --device cuda`: whole pictures on a GPU, min-dalle and ours in turn."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import Any, Final

from rich.console import Console
from rowcast.cache import default_cache
from rowcast_server.placement import place

from ..markdown import table
from ..progress import Progress
from .random_model import IMAGE_TOKENS, random_model
from .sides import MinDalle, Ours
from .worker import Worker

ROUNDS: Final = 3
MANY: Final = 32  # pictures at once
READ_BYTES: Final = 1 << 30  # far over any cache
READS: Final = 50
BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number


def run(
    size: str, device: str, dtype: str | None, threads: int, console: Console
) -> tuple[dict[str, Any], str]:
    """Measure: figures, and a report in Markdown. Raises RowcastError where there is no such
    device."""
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
        weights = ours.call("work").weight_bytes * BYTES[placement.dtype] // BYTES["float32"]
    ceiling = read_gigabytes_per_second(placement.device)
    peer, mine = (statistics.median(alone[name]) for name in alone)
    together = statistics.median(many)
    figures = {
        "size": size,
        "device": device_name(placement.device),
        "dtype": placement.dtype,
        "min_dalle_picture_s": round(peer, 3),
        "ours_picture_s": round(mine, 3),
        "ours_first_row_ms": round(statistics.median(first) * 1e3, 1),
        "single_ratio": round(peer / mine, 1),
        "batch32_ratio": round(MANY * peer / together, 1),
        "batch32_pictures_per_s": round(MANY / together, 1),
        "memory_ceiling_gb_s": round(ceiling),
        "memory_ceiling_share": round(weights * IMAGE_TOKENS / mine / 1e9 / ceiling, 3),
    }
    share = f"{figures['memory_ceiling_share']:.0%} of {ceiling:,.0f} GB/s"
    lines = (
        ("one picture, s", f"{peer:.2f}", f"{mine:.2f}"),
        ("times as fast", 1, f"**{figures['single_ratio']}**"),
        ("its first row, ms", "", figures["ours_first_row_ms"]),
        ("weights read for it, of what memory can", "", share),
        (f"{MANY} pictures at once, a second", "", figures["batch32_pictures_per_s"]),
        ("times min-dalle's one after another", 1, f"**{figures['batch32_ratio']}**"),
    )
    head = (f"{size.title()}'s size, {figures['device']}, {placement.dtype}", "min-dalle", "ours")
    return figures, table(head, lines)


def device_name(device: str) -> str:
    """The name of a CUDA device, such as ``NVIDIA H100``; of others, what they are called here."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def read_gigabytes_per_second(device: str) -> float:
    """The rate at which the device sums a gibibyte of float32 in its own memory."""
    import torch

    values = torch.ones(READ_BYTES // 4, device=device)
    for _ in range(2):  # the first sum takes its memory
        float(values.sum())
    begun = time.perf_counter()
    for _ in range(READS):
        total = values.sum()
    float(total)  # waits
    return READS * values.nbytes / (time.perf_counter() - begun) / 1e9
