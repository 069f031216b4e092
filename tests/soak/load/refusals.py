"""Whatever a client sends, it costs little to refuse, and nobody else waits for it.

Each frame of `tests.support.hostile_frames`, by a session alone: time and memory. Then through a
socket, as fast as the server takes them: many starts in one write, frames that are ignored, and
prompts that are long to read; another connection is pinged meanwhile.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from threading import Thread

from rowcast_server.admission import ServedModel
from rowcast_server.models.loading import load

from tests.support.fakes import Studio
from tests.support.hostile_frames import FRAMES, answer
from tests.support.lines import Line, greeted
from tests.support.raw_client import PING, masked

from ..scenario import Figures, percentile, say
from .latency import pause
from .loaded import loaded_server
from .wire import Crowd, hello, packed, request, start
from .wire import Line as Wire

TRIES = 5
MOST_TIME, MOST_SIZE, MOST_WAIT = 1.0, 256.0, 50.0  # ms, KiB, ms
STARTS, IGNORED, PROMPTS = 100, 40_000, 200
PROMPT_BYTES = 2_000
SIGNS = ("\N{THUNDER CLOUD AND RAIN}", "\N{CIRCLED IDEOGRAPH CONGRATULATION}")
PING_SECONDS = 0.005  # between two
SERVER = ("--slots=8", "--queue=10000", "--seconds-a-row=0.02")


def run(quick: bool) -> Figures:
    figures = Figures()
    alone(figures)
    share = 10 if quick else 1
    attacks = {
        "nothing": b"",
        f"{STARTS} starts": starts("a red house", STARTS),
        f"{IGNORED // share:,} ignored frames": masked(b"\x91\x28") * (IGNORED // share),
    }
    for sign in SIGNS:
        prompt = sign * (PROMPT_BYTES // len(sign.encode()))
        name = f"{PROMPTS // share} prompts of U+{ord(sign):X}"
        attacks[name] = starts(prompt, PROMPTS // share)
    for name, attack in attacks.items():
        with loaded_server(*SERVER) as server, Crowd(server.url) as crowd:
            beside(figures, crowd, name, attack)
    return figures


def starts(prompt: str, count: int) -> bytes:
    """Starts of as many pictures."""
    return b"".join(start(stream, os.urandom(16), prompt) for stream in range(count))


def alone(figures: Figures) -> None:
    """Of frames that are refused and of those that are not: which takes longest, and which the
    most memory."""
    served = ServedModel(Studio().welcome.models[0], load("postcard").tokenizer)
    costs: dict[bool, list[tuple[float, float, str]]] = {True: [], False: []}  # by: it is refused
    for name, frame in FRAMES.items():
        seconds = []
        for _ in range(TRIES):
            studio, line = fresh(served)
            begun = time.perf_counter()
            answer(line, frame)
            seconds.append(time.perf_counter() - begun)
        refused = not studio.drawer.requests
        studio, line = fresh(served)
        tracemalloc.start()
        answer(line, frame)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        costs[refused].append((1_000 * min(seconds), size / 1_024, name))
    for refused, told in costs.items():
        words = "refused" if refused else "taken"
        time_bar, size_bar = (MOST_TIME, MOST_SIZE) if refused else (None, None)
        slowest, largest = max(told), max(told, key=lambda cost: cost[1])
        figures.add(f"kinds of frames, {words}", len(told))
        figures.add(f"slowest {words}: {slowest[2]}", slowest[0], "ms", most=time_bar)
        figures.add(f"largest {words}: {largest[2]}", largest[1], "KiB", most=size_bar)


def fresh(served: ServedModel) -> tuple[Studio, Line]:
    """A studio with nothing in it, and a line to it."""
    studio = Studio()
    studio.served = served
    return studio, greeted(studio)


def beside(figures: Figures, crowd: Crowd, name: str, data: bytes) -> None:
    """Another's pings while ``data`` is sent, and for a while after."""
    greeting = request(crowd.url) + hello()
    hostile, other = crowd.open_many(2, greeting)
    hostile.socket.setblocking(True)
    pinged(crowd, other, lambda: True, 0.5)
    sender = Thread(target=hostile.send, args=(data,))
    sender.start()
    waits = pinged(crowd, other, lambda: not sender.is_alive(), 1.0)
    sender.join()
    say(f"  {name}: {len(waits)} pings, p99 {1_000 * percentile(waits, 0.99):.1f} ms")
    figures.add(f"longest ping, {name}", 1_000 * max(waits), "ms", most=MOST_WAIT)
    figures.add(f"connection closed by, {name}", hostile.code)


def pinged(crowd: Crowd, line: Wire, done: Callable[[], bool], after: float) -> list[float]:
    """Seconds that pings waited, until so long after it is done."""
    waits, end = [], float("inf")
    while time.monotonic() < end:
        said, sent = line.said, time.perf_counter()
        line.send(packed(PING, 1))
        crowd.until(lambda said=said: line.said > said)
        waits.append(time.perf_counter() - sent)
        if done():
            end = min(end, time.monotonic() + after)
        pause(crowd, PING_SECONDS)
    return waits
