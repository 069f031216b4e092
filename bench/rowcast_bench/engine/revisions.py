"""This engine against another revision of itself, over the socket: only the wire must agree.

Each revision serves from its own source; one client asks both in turn.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rowcast
from rich.console import Console
from rich.table import Table
from rowcast.cache import default_cache
from rowcast.errors import RowcastError
from rowcast_server.models.loading import load_transformer
from rowcast_server.models.sources import find_in

from ..machine import READ_BYTES, read_gigabytes_per_second
from ..progress import Progress
from .random_model import random_model
from .sides import PROMPT, START_TOKEN, step_weight_bytes

PACKAGES: Final = ("client_py", "server", "vqgan_export", "bench")
ROUNDS: Final = 5
STOP_ROW: Final = 2
JOBS: Final = (1, 8)


def run(revision: str, size: str, threads: int, console: Console) -> dict[str, Any]:
    """Milliseconds a token of both; ratios over 1 mean that the working tree is faster.

    Raises RowcastError for a revision that git does not know, or a server that does not start.
    """
    ceiling = read_gigabytes_per_second(threads, READ_BYTES)
    model = str(random_model(size, default_cache(), console.print))
    here = Path(_git("rev-parse", "--show-toplevel"))
    commit = _git("rev-parse", "--short", revision)
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(there), revision)
        try:
            with _served(here, model, threads) as new, _served(there, model, threads) as old:
                times = _measure({"new": new, "old": old}, console)
        finally:
            _git("worktree", "remove", "--force", str(there))
    table = Table(f"ms a token, {size}", f"{commit}", "working tree", "times as fast")
    figures: dict[str, Any] = {"against": commit, "size": size, "threads": threads}
    for jobs in JOBS:
        old_ms, new_ms = (statistics.median(times[side, jobs]) * 1e3 for side in ("old", "new"))
        figures |= {
            f"old_ms_per_token_{jobs}": round(old_ms, 3),
            f"new_ms_per_token_{jobs}": round(new_ms, 3),
            f"ratio_{jobs}": round(old_ms / new_ms, 3),
        }
        table.add_row(
            f"{jobs} pictures", f"{old_ms:.2f}", f"{new_ms:.2f}", f"{old_ms / new_ms:.2f}"
        )
    weights = step_weight_bytes(load_transformer(find_in(Path(model)), START_TOKEN))
    read = weights / figures["new_ms_per_token_1"] / 1e6  # GB/s
    figures["memory_ceiling_gb_s"] = round(ceiling, 1)
    figures["new_memory_ceiling_share"] = round(read / ceiling, 3)
    console.print(table)
    console.print(
        f"for one picture the working tree reads weights at {read:.1f} of the {ceiling:.1f} GB/s "
        f"that {threads} threads can read here",
        highlight=False,
    )
    return figures


def _measure(urls: dict[str, str], console: Console) -> dict[tuple[str, int], list[float]]:
    times: dict[tuple[str, int], list[float]] = {}
    turns = [(side, jobs) for _ in range(ROUNDS) for jobs in JOBS for side in urls]
    with Progress(console, [_title(*turn) for turn in turns]) as progress:
        for side, jobs in turns:
            progress.stage(_title(side, jobs))
            times.setdefault((side, jobs), []).append(asyncio.run(_seconds(urls[side], jobs)))
    return times


def _title(side: str, jobs: int) -> str:
    return f"{side} revision, {jobs} pictures"


async def _seconds(url: str, jobs: int) -> float:
    """A token, of ``jobs`` pictures that start together."""
    async with rowcast.connect(url, decode=False) as client:
        begun, tokens = time.perf_counter(), 0
        async for event in client.generate(PROMPT, images=jobs, seed=1, stop_row=STOP_ROW):
            if isinstance(event, rowcast.RowsArrived):
                tokens += event.rows.size
        return (time.perf_counter() - begun) / tokens


@contextmanager
def _served(tree: Path, model: str, threads: int) -> Iterator[str]:
    """The URL of a server that runs from a source tree."""
    paths = os.pathsep.join(str(tree / package) for package in PACKAGES)
    command = [
        *(sys.executable, "-m", "rowcast", "serve", "--model", model),
        *("--port", "0", "--http-port", "0", "--threads", str(threads)),
    ]
    environment = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            if words[:1] != ["ready"]:
                raise RowcastError(f"the server of {tree} did not start; its message stands above")
            yield words[1]
        finally:
            process.terminate()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or error
        raise RowcastError(f"git {' '.join(arguments)}: {text}".strip()) from error
    return done.stdout.strip()
