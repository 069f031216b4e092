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
from rowcast_server.network.facts import CacheKind

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
JOBS: Final = (8, 16)
JOB_ROWS: Final = 3
KEYS_AND_VALUES: Final = CacheKind.KEYS_AND_VALUES
# Of the sides, by their names in the figures; "ours" is what a server does unless told otherwise.
TITLES: Final = {
    "min_dalle": "min-dalle",
    "ours": "ours",
    "keys_values": "keys and values",
    "int8": "int8",
}
PREFIXES: Final = {"ours": "", "keys_values": "keys_values_", "int8": "int8_"}
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
    tell("loading min-dalle, our engine, with keys and values, in int8")
    with (
        Worker(MinDalle, folder, size, threads) as theirs,
        Worker(Ours, folder, threads, SLOTS) as ours,
        Worker(Ours, folder, threads, SLOTS, "cpu", "float32", KEYS_AND_VALUES) as other,
        Worker(Ours, folder, threads, SLOTS, "cpu", "int8") as small,
    ):
        names = {"min_dalle": theirs, "ours": ours, "keys_values": other, "int8": small}
        single: dict[str, list[float]] = {name: [] for name in names}
        four: dict[str, list[float]] = {"min_dalle": [], "ours": []}
        rates: dict[tuple[str, int], list[float]] = {
            (name, jobs): [] for name in ("ours", "keys_values", "int8") for jobs in JOBS
        }
        for turn in range(ROUNDS):
            for name, side in names.items():
                tell(f"round {turn + 1} of {ROUNDS}: {name}, one picture")
                single[name].append(side.call("seconds_per_step", 1, STEPS))
            for name in four:
                tell(f"round {turn + 1} of {ROUNDS}: {name}, four pictures")
                four[name].append(names[name].call("seconds_per_step", 4, STEPS // 2))
            for (name, jobs), measured in rates.items():
                tell(f"round {turn + 1} of {ROUNDS}: {name}, {jobs} jobs that arrive at random")
                measured.append(names[name].call("tokens_per_second", jobs, JOB_ROWS, turn))
        tell("greedy tokens of both")
        same = theirs.call("greedy", GREEDY_TOKENS) == ours.call("greedy", GREEDY_TOKENS)
        weights = ours.call("step_weight_bytes")
        takes = {name: side.call("memory") for name, side in names.items()}
    steps = {name: statistics.median(times) for name, times in single.items()}
    together = {key: statistics.median(measured) for key, measured in rates.items()}
    peer, mine = steps["min_dalle"], steps["ours"]
    read = weights / mine / 1e9
    return {
        "size": size,
        "threads": threads,
        **{f"{name}_ms_per_step": round(step * 1e3, 2) for name, step in steps.items()},
        "single_ratio": round(peer / mine, 2),
        "keys_values_ratio": round(peer / steps["keys_values"], 2),
        "int8_ratio": round(peer / steps["int8"], 2),
        "four_ratio": round(
            statistics.median(four["min_dalle"]) / statistics.median(four["ours"]), 2
        ),
        **{
            f"{PREFIXES[name]}batch{jobs}_ratio": round(rate * peer, 2)
            for (name, jobs), rate in together.items()
        },
        "greedy_tokens_identical": same,
        "min_dalle_pictures_per_minute": round(60 / (TOKENS * peer), 2),
        "ours_pictures_per_minute": round(60 / (TOKENS * mine), 2),
        "ours_pictures_per_minute_16_jobs": round(60 * together["ours", 16] / TOKENS, 2),
        "memory_ceiling_gb_s": round(ceiling, 1),
        "memory_read_gb_s": round(read, 1),
        "memory_ceiling_share": round(read / ceiling, 3),
        **{f"{name}_peak_gb": round(take["peak"] / 1e9, 2) for name, take in takes.items()},
        **{f"{name}_cache_mb": round(take["cache"] / 1e6, 2) for name, take in takes.items()},
        "text_mb": round(takes["ours"]["text"] / 1e6, 2),
        "cache_ratio": round(takes["ours"]["cache"] / takes["min_dalle"]["cache"], 3),
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
    table = Table(f"{figures['size']}, {figures['threads']} threads", *TITLES.values())

    def row(title: str, names: dict[str, str]) -> None:
        """The figures of these names, by their sides."""
        values = (figures[names[side]] if side in names else "" for side in TITLES)
        table.add_row(title, *map(str, values))

    row("a step of one picture, ms", {side: f"{side}_ms_per_step" for side in TITLES})
    ratios = {side: f"{side}_ratio" for side in ("keys_values", "int8")}
    row("times as fast", {"ours": "single_ratio", **ratios})
    row("4 pictures together, times as fast", {"ours": "four_ratio"})
    for jobs in JOBS:
        row(
            f"tokens a second of {jobs} jobs, over min-dalle's one",
            {side: f"{prefix}batch{jobs}_ratio" for side, prefix in PREFIXES.items()},
        )
    row("cache of a picture's tokens, MB", {side: f"{side}_cache_mb" for side in TITLES})
    row("most memory, GB", {side: f"{side}_peak_gb" for side in TITLES})
    console.print(table)
    console.print(
        f"a picture's cache is {figures['cache_ratio']:.2f} of min-dalle's; its text takes "
        f"{figures['text_mb']} MB more, which min-dalle computes anew in each step; "
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
