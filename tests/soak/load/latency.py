"""Running jobs whose rows tell when they were drawn, and how late each viewer has them."""

from __future__ import annotations

import os
import time

import msgpack
import numpy as np
from rowcast.messages import view_key

from tests.support.raw_client import ACCEPTED, ROWS

from ..cuts import postcards_grid
from ..scenario import percentile
from ..scripted_server import STAMP_DIGITS, seconds_of
from .loaded import LoadedServer
from .wire import Crowd, Line, hello, request, start, watch

JOBS = 8
POSTCARDS_ROW = 32  # bytes of ids
SETTLING_SECONDS = 0.3


class Jobs:
    """Jobs under way at a server that stamps its rows."""

    def __init__(self, crowd: Crowd, count: int = JOBS) -> None:
        keys = [os.urandom(16) for _ in range(count)]
        self._greeting = request(crowd.url) + hello()
        self.view_keys = [view_key(key) for key in keys]
        owner = crowd.open_many(1, self._greeting)[0]
        for stream, key in enumerate(keys):
            owner.send(start(stream, key))
            while ACCEPTED not in {payload[1] for _, payload, _ in crowd.frames(0.1, once=True)}:
                pass

    def watching(self, job: int, held: int = 0, crc32: int = 0) -> bytes:
        """What a viewer of a job sends that has its first rows."""
        return self._greeting + watch(0, self.view_keys[job], 0, held, crc32)

    def viewers(self, crowd: Crowd, count: int) -> list[Line]:
        """Connections that watch a job each, in turns, and have had their first rows."""
        data = [self.watching(job) for job in range(len(self.view_keys))]
        return crowd.open_many(count, *data, said=3)  # welcome, accepted, rows

    def keepers(self, crowd: Crowd) -> list[Line]:
        """A connection that watches each job, of which nothing has been read."""
        return [crowd.open(self.watching(job)) for job in range(len(self.view_keys))]


class Lateness:
    """Of the rows that came on some lines: seconds from drawing to receipt."""

    def __init__(self, lines: list[Line], row_bytes: int = POSTCARDS_ROW) -> None:
        self.seconds: list[float] = []
        self.lost = 0  # or doubled
        self._row_bytes = row_bytes
        self._grid = postcards_grid()
        # The row that is to come next on each line; None before the first.
        self.due: dict[int, int | None] = dict.fromkeys(line.number for line in lines)

    def take(self, line: Line, payload: bytes, when: float) -> None:
        """One message."""
        if payload[1] != ROWS or line.number not in self.due:
            return
        _, _, first, ids = msgpack.unpackb(payload)
        due, count = self.due[line.number], len(ids) // self._row_bytes
        self.lost += 0 if due is None else abs(first - due)
        self.due[line.number] = first + count
        for row in range(count):
            stamp = np.frombuffer(ids, "<u2", STAMP_DIGITS, row * self._row_bytes)
            self.seconds.append(when - seconds_of(self._grid, stamp))

    @property
    def p99(self) -> float:
        """In milliseconds."""
        return 1_000 * percentile(self.seconds, 0.99)


def measured(
    crowd: Crowd, lines: list[Line], seconds: float, row_bytes: int = POSTCARDS_ROW
) -> Lateness:
    """How late rows are on these lines, for a while; all lines are read meanwhile."""
    lateness = Lateness(lines, row_bytes)  # first: it takes 100 ms, in which rows would wait
    pause(crowd, SETTLING_SECONDS)
    for line, payload, when in crowd.frames(seconds):
        lateness.take(line, payload, when)
    return lateness


def pause(crowd: Crowd, seconds: float) -> None:
    """Read for a while, and drop what is read."""
    for _ in crowd.frames(seconds):
        pass


def settled(server: LoadedServer, crowd: Crowd, name: str, most: float, seconds: float) -> float:
    """Seconds until the server holds at most so many of something; ``seconds`` if it never does."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        if server.held()[name] <= most:
            return passed
        pause(crowd, 0.2)
    return seconds
