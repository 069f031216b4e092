"""`rowcast bench engine`: our engine and min-dalle, side by side on the same random weights."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rowcast.cache import default_cache
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED
from rowcast_server.network.facts import CacheKind

from ..machine import PRODUCT_SIZE, READ_BYTES, gigaflops, read_gigabytes_per_second
from ..progress import Progress
from . import gpu
from .agreement import int8_agreement
from .emission import StampedServer, view
from .random_model import need_peer, random_model
from .report import JOBS, SIDES, report
from .roofline import Work
from .sides import MinDalle, Ours
from .worker import Worker

Turn = tuple[str, int, bool]  # side, pictures, True if they are jobs that arrive
TOKENS: Final = 256
SLOTS: Final = 16
PROMPTS: Final = (
    "sunset over a meadow, a red house on the left, a yellow balloon on the right",
    "night over the sea, a boat with a red sail, a full moon on the left",
    "a clear day over the desert, three palm trees, a blue balloon on the right",
    "green hills at dawn, a pink house on the left",
)
CEILINGS: Final = "what memory and cores can do"
LOADING: Final = "loading min-dalle, ours, ours caching states, ours in int8"
GREEDY: Final = "greedy tokens of both"
AGREEMENT: Final = "int8 on postcard, token by token"
STREAMING: Final = "16 jobs with viewers and without"


@dataclass(frozen=True)
class Effort:
    """Repetitions and sizes; ``rows`` 0 leaves out the way from sampling to the socket."""

    rounds: int = 3  # of each side in turn: the first is cold, the median counts
    steps: int = 24  # of a round
    job_rows: int = 3
    greedy_tokens: int = 64
    prompts: int = len(PROMPTS)
    rows: int = 2_100
    stop_row: int = 16  # of each of the pictures that these rows are of
    streaming_rows: int = 4  # of each job, where viewers are compared with none
    read_bytes: int = READ_BYTES  # the two ceilings' sizes
    product_size: int = PRODUCT_SIZE


THOROUGH: Final = Effort()
BRIEF: Final = Effort(
    steps=8,
    job_rows=1,
    greedy_tokens=16,
    prompts=1,
    rows=128,
    stop_row=8,
    streaming_rows=2,
)


def run(
    console: Console,
    size: str,
    quick: bool,
    threads: int,
    rows: int | None,
    device: str,
    dtype: str | None,
) -> tuple[dict[str, Any], str]:
    """Measure on the CPU, or whole pictures on a device. Raises ModuleNotFoundError at once."""
    need_peer()
    if (device, dtype) != ("cpu", None):
        return gpu.run(size, device, dtype, threads, console)
    effort = BRIEF if quick else THOROUGH
    figures = measure(
        size, threads, effort if rows is None else replace(effort, rows=rows), console
    )
    return figures, report(figures)


def measure(size: str, threads: int, effort: Effort, console: Console) -> dict[str, Any]:
    """All figures of both sides on the CPU."""
    folder = random_model(size, default_cache(), console.print)
    streamed = f"{effort.rows:,} rows of 16 jobs, from sampling to the socket"
    plan = [CEILINGS, AGREEMENT, *([STREAMING, streamed] if effort.rows else []), LOADING, GREEDY]
    plan += [*_turns().values()] * effort.rounds
    figures: dict[str, Any] = {"size": size, "threads": threads, "rounds": effort.rounds}
    with Progress(console, plan) as progress:
        progress.stage(CEILINGS)
        readable = read_gigabytes_per_second(threads, effort.read_bytes)
        multiplied = gigaflops(threads, effort.product_size)
        figures["memory_ceiling_gb_s"] = round(readable, 1)
        figures["compute_ceiling_gflops"] = round(multiplied, 1)
        progress.stage(AGREEMENT, effort.prompts)
        prompts = PROMPTS[: effort.prompts]
        figures |= int8_agreement(load(EMBEDDED), prompts, threads, progress.advance)
        if effort.rows:
            figures |= _emission(folder, threads, effort, progress, streamed)
        figures |= _sides(folder, size, threads, effort, (readable, multiplied), progress)
    return figures


def _turns() -> dict[Turn, str]:
    """Names of what a round measures."""
    peer, *ours = SIDES
    return {
        **{(side, 1, False): f"{title}, one picture" for side, title in SIDES.items()},
        **{(side, 4, False): f"{SIDES[side]}, four pictures" for side in (peer, ours[0])},
        **{(ours[0], jobs, False): f"{SIDES[ours[0]]}, {jobs} pictures" for jobs in JOBS},
        **{
            (side, jobs, True): f"{SIDES[side]}, {jobs} jobs that arrive at random"
            for side in ours
            for jobs in JOBS
        },
    }


def _sides(
    folder: Path,
    size: str,
    threads: int,
    effort: Effort,
    ceilings: tuple[float, float],
    progress: Progress,
) -> dict[str, Any]:
    """All four in processes of their own, one at a time at work."""
    progress.stage(LOADING)
    with ExitStack() as stack:
        ours = (folder, threads, SLOTS, "cpu")
        made: dict[str, tuple[Any, ...]] = {
            "min_dalle": (MinDalle, folder, size, threads),
            "ours": (Ours, *ours),
            "states": (Ours, *ours, "float32", CacheKind.STATES),
            "int8": (Ours, *ours, "int8"),
        }
        sides = {name: stack.enter_context(Worker(*made[name])) for name in SIDES}
        progress.stage(GREEDY)
        tokens = [
            sides[name].call("greedy", effort.greedy_tokens) for name in ("min_dalle", "ours")
        ]
        turns = _turns()
        measured: dict[Turn, list[float]] = {turn: [] for turn in turns}
        for number in range(effort.rounds):
            for turn, title in turns.items():
                progress.stage(title)
                name, pictures, arrive = turn
                asked: tuple[Any, ...] = (
                    ("tokens_per_second", pictures, effort.job_rows, number)
                    if arrive
                    else ("seconds_per_step", pictures, effort.steps // (2 if pictures > 1 else 1))
                )
                measured[turn].append(sides[name].call(*asked))
        work = sides["ours"].call("work")
        takes = {name: side.call("memory") for name, side in sides.items()}
    found = {turn: statistics.median(values) for turn, values in measured.items()}
    return {
        "greedy_tokens_identical": tokens[0] == tokens[1],
        "text_mb": round(takes["ours"]["text"] / 1e6, 2),
        "sides": {
            name: {
                **_speeds(name, found, work, *ceilings),
                "cache_mb": round(takes[name]["cache"] / 1e6, 2),
                "peak_gb": round(takes[name]["peak"] / 1e9, 2),
            }
            for name in SIDES
        },
    }


def _speeds(
    name: str, found: Mapping[Turn, float], work: Work, readable: float, multiplied: float
) -> dict[str, float]:
    """Times of a side, how often they go into min-dalle's, and their shares of what this machine
    can do: of reading the weights (in int8 a fourth of them), and of the roofline.

    ``readable`` is in GB/s, ``multiplied`` in GFLOP/s.
    """
    weights = work.weight_bytes
    step, peer = found[name, 1, False], found["min_dalle", 1, False]
    read = (weights / 4 if name == "int8" else weights) / step / 1e9
    figures = {
        "ms_per_step": round(step * 1e3, 2),
        "ratio": round(peer / step, 2),
        "memory_share": round(read / readable, 3),
        "pictures_per_minute": round(60 / (TOKENS * step), 2),
    }
    if name == "ours":
        figures["ratio_of_4"] = round(found["min_dalle", 4, False] / found[name, 4, False], 2)
        for pictures in (1, *JOBS):
            least = work.seconds(pictures, readable, multiplied)
            share = least / found[name, pictures, False]
            figures[f"roofline_share_of_{pictures}"] = round(share, 3)
    for jobs in JOBS:
        rate = found.get((name, jobs, True), 0.0)
        if rate:
            figures[f"ratio_of_{jobs}_jobs"] = round(rate * peer, 2)
            figures[f"pictures_per_minute_of_{jobs}_jobs"] = round(60 * rate / TOKENS, 2)
    return figures


def _emission(
    folder: Path, threads: int, effort: Effort, progress: Progress, title: str
) -> dict[str, Any]:
    """From sampling to the socket, and what viewers cost, by a whole server in its process."""
    progress.stage(STREAMING)
    with Worker(StampedServer, folder, threads) as server:
        url = server.call("url")
        ratios = []
        for _ in range(effort.rounds):
            alone = server.call("draw_alone", effort.streaming_rows)
            ratios.append(asyncio.run(view(url, 1, effort.streaming_rows)) / alone)
        server.call("delays")
        progress.stage(title, effort.rows)
        asyncio.run(view(url, effort.rows, effort.stop_row, progress.advance))
        delays = 1e3 * np.array(server.call("delays"))
    return {
        "row_emit_rows": len(delays),
        "row_emit_p50_ms": round(float(np.percentile(delays, 50)), 2),
        "row_emit_p99_ms": round(float(np.percentile(delays, 99)), 2),
        "streaming_ratio": round(statistics.median(ratios), 3),
    }
