"""`rowcast bench engine`: our engine and min-dalle, side by side on the same random weights."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rowcast.cache import default_cache
from rowcast_server.models.loading import load
from rowcast_server.models.sources import EMBEDDED
from rowcast_server.network.facts import CacheKind

from ..machine import PRODUCT_SIZE, READ_BYTES, gigaflops, read_gigabytes_per_second
from ..progress import Progress
from .agreement import int8_agreement
from .emission import StampedServer, summary, viewers
from .random_model import random_model
from .report import JOBS, PREFIXES, TITLES, show
from .sides import MinDalle, Ours
from .worker import Worker

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

    rounds: int = 3  # of each side in turn; the median counts
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
    rounds=1,
    steps=8,
    job_rows=1,
    greedy_tokens=16,
    prompts=1,
    rows=128,
    stop_row=8,
    streaming_rows=2,
)


def run(size: str, threads: int, effort: Effort, console: Console) -> dict[str, Any]:
    """Measure all and show it; returns the figures."""
    folder = random_model(size, default_cache(), console.print)
    streamed = f"{effort.rows:,} rows of 16 jobs, from sampling to the socket"
    plan = [CEILINGS, AGREEMENT, *([STREAMING, streamed] if effort.rows else []), LOADING, GREEDY]
    plan += [*_turns().values()] * effort.rounds
    figures: dict[str, Any] = {"size": size, "threads": threads, "rounds": effort.rounds}
    with Progress(console, plan) as progress:
        progress.stage(CEILINGS)
        ceilings = (
            read_gigabytes_per_second(threads, effort.read_bytes),
            gigaflops(threads, effort.product_size),
        )
        progress.stage(AGREEMENT, effort.prompts)
        agreed = int8_agreement(
            load(EMBEDDED), PROMPTS[: effort.prompts], threads, progress.advance
        )
        if effort.rows:
            emission = _emission(folder, threads, effort, progress, streamed)
        figures |= _sides(folder, size, threads, effort, ceilings, progress)
    figures |= {
        "int8_same_greedy": round(agreed.same_greedy, 4),
        "int8_mean_kl": round(agreed.mean_kl, 5),
        "int8_tokens_compared": agreed.tokens,
    }
    if effort.rows:
        figures |= emission
    show(figures, console)
    return figures


def _turns() -> dict[tuple[str, int, bool], str]:
    """Names of what a round measures, by [side, pictures, True if jobs arrive]."""
    return {
        **{(side, 1, False): f"{title}, one picture" for side, title in TITLES.items()},
        **{(side, 4, False): f"{TITLES[side]}, four pictures" for side in ("min_dalle", "ours")},
        **{
            (side, jobs, True): f"{TITLES[side]}, {jobs} jobs that arrive at random"
            for side in PREFIXES
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
        sides = {name: stack.enter_context(Worker(*each)) for name, each in made.items()}
        progress.stage(GREEDY)
        tokens = [
            sides[name].call("greedy", effort.greedy_tokens) for name in ("min_dalle", "ours")
        ]
        turns = _turns()
        measured: dict[tuple[str, int, bool], list[float]] = {turn: [] for turn in turns}
        for number in range(effort.rounds):
            for (name, pictures, arrive), title in turns.items():
                progress.stage(title)
                asked: tuple[Any, ...]
                if arrive:
                    asked = ("tokens_per_second", pictures, effort.job_rows, number)
                else:
                    steps = effort.steps if pictures == 1 else effort.steps // 2
                    asked = ("seconds_per_step", pictures, steps)
                measured[name, pictures, arrive].append(sides[name].call(*asked))
        weights = sides["ours"].call("step_weight_bytes")
        takes = {name: side.call("memory") for name, side in sides.items()}
    found = {turn: statistics.median(values) for turn, values in measured.items()}
    return {
        **_speeds(found),
        "greedy_tokens_identical": tokens[0] == tokens[1],
        **_shares(found, weights, *ceilings),
        **{f"{name}_peak_gb": round(take["peak"] / 1e9, 2) for name, take in takes.items()},
        **{f"{name}_cache_mb": round(take["cache"] / 1e6, 2) for name, take in takes.items()},
        "text_mb": round(takes["ours"]["text"] / 1e6, 2),
        "cache_ratio": round(takes["ours"]["cache"] / takes["min_dalle"]["cache"], 3),
    }


def _speeds(found: Mapping[tuple[str, int, bool], float]) -> dict[str, Any]:
    """Times of each side, and how often they go into min-dalle's."""
    steps = {name: found[name, 1, False] for name in TITLES}
    peer, together = steps["min_dalle"], found["ours", 16, True]
    return {
        **{f"{name}_ms_per_step": round(step * 1e3, 2) for name, step in steps.items()},
        "single_ratio": round(peer / steps["ours"], 2),
        "states_ratio": round(peer / steps["states"], 2),
        "int8_ratio": round(peer / steps["int8"], 2),
        "four_ratio": round(found["min_dalle", 4, False] / found["ours", 4, False], 2),
        **{
            f"{PREFIXES[name]}batch{jobs}_ratio": round(rate * peer, 2)
            for (name, jobs, arrive), rate in found.items()
            if arrive
        },
        "min_dalle_pictures_per_minute": round(60 / (TOKENS * peer), 2),
        "ours_pictures_per_minute": round(60 / (TOKENS * steps["ours"]), 2),
        "ours_pictures_per_minute_16_jobs": round(60 * together / TOKENS, 2),
    }


def _shares(
    found: Mapping[tuple[str, int, bool], float], weights: int, readable: float, multiplied: float
) -> dict[str, Any]:
    """Shares of the machine that are used: a step reads ``weights`` bytes, in int8 a fourth.

    ``readable`` is in GB/s, ``multiplied`` in GFLOP/s. A token takes two rows of each matrix's
    products, one of them guided by the empty text; attention is not counted.
    """
    rates = {
        name: (weights / 4 if name == "int8" else weights) / found[name, 1, False] / 1e9
        for name in TITLES
    }
    per_token = 2 * 2 * weights / 4
    return {
        "memory_ceiling_gb_s": round(readable, 1),
        "memory_read_gb_s": round(rates["ours"], 1),
        "min_dalle_memory_ceiling_share": round(rates["min_dalle"] / readable, 3),
        **{
            f"{prefix}memory_ceiling_share": round(rates[name] / readable, 3)
            for name, prefix in PREFIXES.items()
        },
        "compute_ceiling_gflops": round(multiplied, 1),
        **{
            f"{PREFIXES[name]}batch{jobs}_compute_share": round(
                rate * per_token / 1e9 / multiplied, 3
            )
            for (name, jobs, arrive), rate in found.items()
            if arrive and name != "int8"
        },
    }


def _emission(
    folder: Path, threads: int, effort: Effort, progress: Progress, title: str
) -> dict[str, Any]:
    """From sampling to the socket, and what viewers cost, by a whole server in its process."""
    progress.stage(STREAMING)
    with Worker(StampedServer, folder, threads) as server:
        url = server.call("address")
        ratios = []
        for _ in range(effort.rounds):
            alone = server.call("draw_alone", effort.streaming_rows)
            ratios.append(viewers(url, 1, effort.streaming_rows) / alone)
        server.call("delays")
        progress.stage(title, effort.rows)
        viewers(url, effort.rows, effort.stop_row, progress.advance)
        emission = summary(server.call("delays"), statistics.median(ratios))
    return {
        "row_emit_rows": emission.rows,
        "row_emit_p50_ms": round(emission.p50_ms, 2),
        "row_emit_p99_ms": round(emission.p99_ms, 2),
        "streaming_ratio": round(emission.streaming_ratio, 3),
    }
