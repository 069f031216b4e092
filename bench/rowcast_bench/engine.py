"""`rowcast bench engine`: our engine and min-dalle, side by side on the same random weights."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rowcast.cache import default_cache
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED

from .agreement import int8_agreement
from .emission import StampedServer, summary, viewers
from .memory import read_gigabytes_per_second
from .random_model import random_model
from .sides import MinDalle, Ours
from .worker import Worker

ROUNDS: Final = 3  # of each side in turn; the median counts
STEPS: Final = 24  # a round
TOKENS: Final = 256
GREEDY_TOKENS: Final = 64
SLOTS: Final = 16
JOB_ROWS: Final = 3
PROMPTS: Final = (
    "sunset over a meadow, a red house on the left, a yellow balloon on the right",
    "night over the sea, a boat with a red sail, a full moon on the left",
    "a clear day over the desert, three palm trees, a blue balloon on the right",
    "green hills at dawn, a pink house on the left",
)


def run(size: str, threads: int, rows: int, console: Console) -> dict[str, Any]:
    """Measure all; returns the figures."""
    folder = random_model(size, default_cache(), console.print)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def tell(text: str) -> None:
            bar.update(task, description=text)

        figures = _sides(folder, size, threads, tell)
        tell("int8 on postcard, token by token")
        agreed = int8_agreement(load(EMBEDDED), PROMPTS, threads)
        figures |= {
            "int8_same_greedy": round(agreed.same_greedy, 4),
            "int8_mean_kl": round(agreed.mean_kl, 5),
            "int8_tokens_compared": agreed.tokens,
        }
        if rows:
            figures |= _emission(folder, threads, rows, bar)
    _show(figures, console)
    return figures


def _sides(folder: Path, size: str, threads: int, tell: Callable[[str], object]) -> dict[str, Any]:
    tell("how fast memory is read")
    ceiling = read_gigabytes_per_second(threads)
    tell("loading min-dalle, our engine, our engine in int8")
    with (
        Worker(MinDalle, folder, size, threads) as theirs,
        Worker(Ours, folder, threads, SLOTS) as ours,
        Worker(Ours, folder, threads, SLOTS, "cpu", "int8") as small,
    ):
        names = {"min_dalle": theirs, "ours": ours, "int8": small}
        single: dict[str, list[float]] = {name: [] for name in names}
        four: dict[str, list[float]] = {"min_dalle": [], "ours": []}
        rates: dict[int, list[float]] = {8: [], 16: []}
        for turn in range(ROUNDS):
            for name, side in names.items():
                tell(f"round {turn + 1} of {ROUNDS}: {name}, one picture")
                single[name].append(side.call("seconds_per_step", 1, STEPS))
            for name in four:
                tell(f"round {turn + 1} of {ROUNDS}: {name}, four pictures")
                four[name].append(names[name].call("seconds_per_step", 4, STEPS // 2))
            for jobs, measured in rates.items():
                tell(f"round {turn + 1} of {ROUNDS}: ours, {jobs} jobs that arrive at random")
                measured.append(ours.call("tokens_per_second", jobs, JOB_ROWS, turn))
        tell("greedy tokens of both")
        same = theirs.call("greedy", GREEDY_TOKENS) == ours.call("greedy", GREEDY_TOKENS)
        weights = ours.call("step_weight_bytes")
        peaks = {name: side.call("memory") for name, side in names.items()}
    peer, mine, eight = (statistics.median(single[name]) for name in names)
    read = weights / mine / 1e9
    return {
        "size": size,
        "threads": threads,
        "min_dalle_ms_per_step": round(peer * 1e3, 2),
        "ours_ms_per_step": round(mine * 1e3, 2),
        "int8_ms_per_step": round(eight * 1e3, 2),
        "single_ratio": round(peer / mine, 2),
        "int8_ratio": round(peer / eight, 2),
        "four_ratio": round(
            statistics.median(four["min_dalle"]) / statistics.median(four["ours"]), 2
        ),
        "batch8_ratio": round(statistics.median(rates[8]) * peer, 2),
        "batch16_ratio": round(statistics.median(rates[16]) * peer, 2),
        "greedy_tokens_identical": same,
        "min_dalle_pictures_per_minute": round(60 / (TOKENS * peer), 2),
        "ours_pictures_per_minute": round(60 / (TOKENS * mine), 2),
        "ours_pictures_per_minute_16_jobs": round(60 * statistics.median(rates[16]) / TOKENS, 2),
        "memory_ceiling_gb_s": round(ceiling, 1),
        "memory_read_gb_s": round(read, 1),
        "memory_ceiling_share": round(read / ceiling, 3),
        **{f"{name}_peak_gb": round(peak["peak"] / 1e9, 2) for name, peak in peaks.items()},
    }


def _emission(folder: Path, threads: int, rows: int, bar: Progress) -> dict[str, Any]:
    task = bar.add_task(f"{rows} rows of 16 jobs, from sampling to the socket", total=rows)
    with Worker(StampedServer, folder, threads) as server:
        url = server.call("address")
        ratios = []
        for _ in range(ROUNDS):
            alone = server.call("draw_alone")
            ratios.append(viewers(url, 1, 4) / alone)
        server.call("delays")
        viewers(url, rows, 16, lambda count: bar.advance(task, count))
        emission = summary(server.call("delays"), statistics.median(ratios))
    return {
        "row_emit_rows": emission.rows,
        "row_emit_p50_ms": round(emission.p50_ms, 2),
        "row_emit_p99_ms": round(emission.p99_ms, 2),
        "streaming_ratio": round(emission.streaming_ratio, 3),
    }


def _show(figures: dict[str, Any], console: Console) -> None:
    table = Table(f"{figures['size']}, {figures['threads']} threads", "min-dalle", "ours", "int8")
    table.add_row(
        "a step of one picture, ms",
        *(str(figures[f"{name}_ms_per_step"]) for name in ("min_dalle", "ours", "int8")),
    )
    table.add_row("times as fast", "1", str(figures["single_ratio"]), str(figures["int8_ratio"]))
    table.add_row("4 pictures together, times as fast", "1", str(figures["four_ratio"]), "")
    for jobs in (8, 16):
        ratio = str(figures[f"batch{jobs}_ratio"])
        table.add_row(f"tokens a second of {jobs} jobs, over its one", "", ratio, "")
    table.add_row(
        "most memory, GB",
        *(str(figures[f"{name}_peak_gb"]) for name in ("min_dalle", "ours", "int8")),
    )
    console.print(table)
    console.print(
        f"weights are read at {figures['memory_read_gb_s']} GB/s, "
        f"{figures['memory_ceiling_share']:.0%} of the {figures['memory_ceiling_gb_s']} GB/s that "
        f"{figures['threads']} threads can read here; greedy tokens of both sides "
        f"{'are identical' if figures['greedy_tokens_identical'] else 'DIFFER'}; int8 keeps "
        f"{figures['int8_same_greedy']:.1%} of postcard's {figures['int8_tokens_compared']} "
        f"teacher-forced greedy tokens, KL {figures['int8_mean_kl']} nats",
        highlight=False,
    )
    if "row_emit_rows" in figures:
        console.print(
            f"{figures['row_emit_rows']} rows of 16 jobs: from sampling to bytes written "
            f"{figures['row_emit_p50_ms']} ms (median), {figures['row_emit_p99_ms']} ms (p99); "
            f"with viewers the jobs take {figures['streaming_ratio']} times as long as without",
            highlight=False,
        )
