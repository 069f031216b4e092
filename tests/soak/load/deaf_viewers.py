"""A thousand viewers that never read: all are cut, they cost little, and others notice nothing.

With buffers full: they watch a picture of more bytes than fit, so that a frame waits for each. With
buffers that never fill: all they are sent fits, so that only a ping tells that nobody is there;
`--ping-interval` is 10 s for that, as a ping may stay unanswered for as long as it waits.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass

from rowcast.messages import view_key

from ..scenario import Figures, say
from .latency import Jobs, measured, pause, settled
from .loaded import LoadedServer, loaded_server, socket_memory
from .wire import Crowd, Line, hello, request, start, watch

VIEWERS, QUICK_VIEWERS = 1_000, 100
PAIRS, QUICK_PAIRS = 5, 1
SECONDS = 4.0  # of a measure of lateness
HONEST = 8
ROWS, COLS = 8_192, 512  # 1 KiB a row
FILLING_SECONDS = 12.0  # in which the jobs draw more than buffers take
COMING_SECONDS = 3.0  # in which the server has let them all in
SMALL_BUFFER = 4_096
AT_ONCE = 50
MOST_SECONDS, MOST_MEMORY, MOST_LATER = 25.0, 32.0, 2.0
SERVER = ("--slots=9", "--seconds-a-row=0.1", "--stamp", "--grid", str(ROWS), str(COLS))


def run(quick: bool) -> Figures:
    figures = Figures()
    count, pairs = (QUICK_VIEWERS, QUICK_PAIRS) if quick else (VIEWERS, PAIRS)
    for full in (True, False):
        with loaded_server(*SERVER) as server, Crowd(server.url) as crowd:
            Deaf(server, crowd, full, count).measure(figures, pairs)
    return figures


@dataclass
class Deaf:
    """Viewers that never read, beside others that do."""

    server: LoadedServer
    crowd: Crowd
    full: bool
    count: int

    def measure(self, figures: Figures, pairs: int) -> None:
        words = "buffers full" if self.full else "buffers not full"
        say(f"  {self.count} viewers, {words}")
        jobs, short = Jobs(self.crowd), os.urandom(16)
        greeting = request(self.server.url) + hello()
        self.crowd.open_many(1, greeting + start(0, short, stop_row=2), said=4)
        pause(self.crowd, FILLING_SECONDS)
        honest = jobs.viewers(self.crowd, HONEST)
        keys = jobs.view_keys if self.full else [view_key(short)]
        self.greetings = [greeting + watch(0, key) for key in keys]
        self.others = self.server.held()["websocket_connections"]
        self.cut(self.open(self.count // 10))  # what the first need, all have
        before, kernel = self.server.memory, socket_memory()
        lines = self.open(self.count)
        memory, kernel = self.server.memory - before, socket_memory() - kernel
        held = self.server.held()["websocket_connections"] - self.others
        settled(self.server, self.crowd, "websocket_connections", self.others, 2 * MOST_SECONDS)
        passed = time.monotonic() - lines[-1].opened
        self.cut(lines)
        later = [self.later_beside(honest) for _ in range(pairs)]

        def add(what: str, value: float, unit: str = "", **bars: float) -> None:
            figures.add(f"{what}, {words}", value, unit, **bars)

        add("viewers", held, least=self.count)
        add("all cut after the last came", passed, "s", most=MOST_SECONDS)
        add("memory a viewer", memory / self.count / 1_024, "KiB", most=MOST_MEMORY)
        add("kernel's memory a viewer", kernel / self.count / 1_024, "KiB")
        add(f"p99 of {HONEST} others later by", statistics.median(later), "ms", most=MOST_LATER)

    def later_beside(self, honest: list[Line]) -> float:
        """By how many milliseconds the others' p99 is later beside the deaf ones."""
        alone = measured(self.crowd, honest, SECONDS, 2 * COLS).p99
        lines = self.open(self.count)
        beside = measured(self.crowd, honest, SECONDS, 2 * COLS).p99
        self.cut(lines)
        say(f"  p99 {alone:.2f} ms alone, {beside:.2f} ms beside them")
        return beside - alone

    def open(self, count: int) -> list[Line]:
        """Deaf viewers that have been sent all that they take."""
        lines = []
        for number in range(count):
            data = self.greetings[number % len(self.greetings)]
            buffer = SMALL_BUFFER if self.full else 0
            lines.append(self.crowd.open(data, receive_buffer=buffer, read=False))
            if number % AT_ONCE == AT_ONCE - 1:
                pause(self.crowd, 0.01)
        pause(self.crowd, COMING_SECONDS)
        return lines

    def cut(self, lines: list[Line]) -> None:
        self.crowd.cut(lines)
        settled(self.server, self.crowd, "websocket_connections", self.others, MOST_SECONDS)
