"""A single process beside two replicas on the same cores, over real sockets.

Full load is a closed loop: so many pictures under way at any time. Half load is an open one:
requests at random (Poisson) of half the rate that the replicas can draw.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import rowcast
from rowcast.events import PictureDone, RowsArrived

PROMPT: Final = "a red house at sunset"
CONNECTIONS: Final = 8
WARM_UP: Final = 3.0  # seconds of a loop that are not counted
SOCKETS: Final = 1_000
AMONG_SOCKETS: Final = 5  # pictures drawn on the first of them, and on the last


@dataclass
class Loop:
    """What a loop of requests found, after its warm-up: times in seconds."""

    seconds: float
    pictures: int = 0
    rows: int = 0
    whole: list[float] = field(default_factory=list)  # from request to end
    received: dict[tuple[int, int], float] = field(default_factory=dict)  # by seed and row

    @property
    def pictures_per_second(self) -> float:
        return self.pictures / self.seconds


class Served:
    """A stamped server, and what it noted."""

    def __init__(self, process: subprocess.Popen[str], stamps: Path) -> None:
        self.process = process
        assert process.stdout is not None
        for line in process.stdout:  # Ray may say something before
            word, *rest = line.split() or [""]
            if word == "ready":
                self.url = rest[0]
                break
        else:
            raise RuntimeError(f"the server ended with {process.wait()}")
        self._stamps = stamps

    def drawn(self) -> dict[tuple[int, int], float]:
        """When each row was drawn, by seed and row."""
        found = {}
        for line in self._stamps.read_text().splitlines():
            seed, row, when = line.split()
            found[int(seed), int(row)] = float(when)
        return found

    def cpu_seconds(self) -> float:
        """Of the process that holds the sockets, so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def served(slots: int, threads: int, replicas: int = 0) -> Iterator[Served]:
    """A server of postcard, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder) / "stamps"
        stamps.touch()
        words = [f"--stamps={stamps}", f"--slots={slots}", f"--threads={threads}"]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rowcast_bench.scaling.stamped_server", *words),
                f"--replicas={replicas}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Served(process, stamps)
        finally:
            process.communicate()  # it ends with its input


async def closed_loop(url: str, pictures: int, seconds: float, seeds: Iterator[int]) -> Loop:
    """``pictures`` under way at any time."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url)) for _ in range(CONNECTIONS)]
        loop = Loop(seconds)
        end = time.monotonic() + WARM_UP + seconds

        async def keep_drawing(number: int) -> None:
            while time.monotonic() < end:
                await _draw(clients[number % CONNECTIONS], next(seeds), loop, end - seconds, end)

        await asyncio.gather(*(keep_drawing(number) for number in range(pictures)))
        return loop


async def open_loop(
    url: str, pictures_per_second: float, seconds: float, seeds: Iterator[int]
) -> Loop:
    """Requests at random, whatever has become of those before."""
    chance = random.Random(1)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url)) for _ in range(CONNECTIONS)]
        loop = Loop(seconds)
        begun = time.monotonic()
        due, end = begun, begun + WARM_UP + seconds
        async with asyncio.TaskGroup() as group:
            while (due := due + chance.expovariate(pictures_per_second)) < end:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                client = clients[chance.randrange(CONNECTIONS)]
                group.create_task(_draw(client, next(seeds), loop, begun + WARM_UP, end))
        return loop


async def among_sockets(url: str, seeds: Iterator[int]) -> tuple[float, float]:
    """The median seconds of a picture on the first of a thousand connections, and on the last."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url)) for _ in range(SOCKETS)]
        medians = []
        for client in (clients[0], clients[-1]):
            loop = Loop(1.0)
            for _ in range(AMONG_SOCKETS):
                await _draw(client, next(seeds), loop, 0.0, float("inf"))
            medians.append(statistics.median(loop.whole))
        return medians[0], medians[1]


def row_latencies(loop: Loop, drawn: dict[tuple[int, int], float]) -> list[float]:
    """Seconds from each row's drawing to its receipt, sorted."""
    return sorted(when - drawn[name] for name, when in loop.received.items() if name in drawn)


def _client(url: str) -> rowcast.AsyncClient:
    options: dict[str, Any] = {"decode": False, "open_timeout": 60}
    return rowcast.connect(url, **options)


async def _draw(
    client: rowcast.AsyncClient, seed: int, loop: Loop, first: float, last: float
) -> None:
    """Draw a picture; what comes between two moments is counted."""
    begun = time.monotonic()
    async for event in client.generate(PROMPT, seed=seed):
        now = time.monotonic()
        counts = first <= now < last
        if isinstance(event, RowsArrived) and counts:
            loop.rows += len(event.rows)
            for row in range(event.first_row, event.first_row + len(event.rows)):
                loop.received[seed, row] = now
        elif isinstance(event, PictureDone) and counts:
            loop.pictures += 1
            loop.whole.append(now - begun)
