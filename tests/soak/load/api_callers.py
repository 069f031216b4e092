"""Eight viewers have their rows no later beside eight callers of OpenAI's API, who are painted for.

The callers stream pictures with three partial images each from `rowcast openai`, which decodes on
the same two cores. First the server's drawing is scripted, and rows tell when they were drawn. Then
it is real, and takes both cores: there the same eight viewers are beside eight other clients that
decode nothing, and beside the eight callers, and what is compared is the time between a viewer's
rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import numpy as np

from tests.support.raw_client import ACCEPTED, DONE, ROWS

from ..cuts import postcards_grid
from ..scenario import Figures, percentile
from ..scripted_server import STAMP_DIGITS, seconds_of
from ..server_process import REAL, server_process
from .latency import POSTCARDS_ROW, SETTLING_SECONDS, pause
from .loaded import loaded_server
from .wire import Crowd, Line, hello, request, start

VIEWERS = CALLERS = 8
SECONDS, QUICK_SECONDS = 30.0, 5.0
MOST_MORE = 5.0  # milliseconds
SCRIPTED = (f"--slots={VIEWERS + CALLERS}", "--seconds-a-row=0.1", "--steps-a-row=16", "--stamp")
DRAWING = (*REAL, f"--slots={VIEWERS + CALLERS}", "--address-connections=100")


class Drawers:
    """Connections that draw a picture each, and the next when that has ended."""

    def __init__(self, crowd: Crowd, count: int) -> None:
        self._crowd = crowd
        self._lines = {line.number: line for line in _greeted(crowd, count)}
        self._streams = dict.fromkeys(self._lines, 0)
        for line in self._lines.values():
            self._start(line)

    def _start(self, line: Line) -> None:
        line.send(start(self._streams[line.number], os.urandom(16)))
        self._streams[line.number] += 1

    def settle(self) -> None:
        """Read what waits to be read, and a little more."""
        for _ in self.rows(1.0):
            pass

    def rows(self, seconds: float) -> Iterator[tuple[int, bytes, float]]:
        """For a while: of each frame with rows its connection, the ids and when it came."""
        for line, payload, when in self._crowd.frames(seconds):
            if payload[1] == ROWS:
                yield line.number, msgpack.unpackb(payload)[3], when
            elif payload[1] == DONE:
                self._start(self._lines[line.number])
            else:
                assert payload[1] == ACCEPTED, payload


def run(quick: bool) -> Figures:
    seconds, figures = QUICK_SECONDS if quick else SECONDS, Figures()
    with loaded_server(*SCRIPTED) as server, Crowd(server.url) as crowd:
        viewers = Drawers(crowd, VIEWERS)
        alone = lateness(viewers, seconds)
        with callers(server.url) as pictures:
            beside = lateness(viewers, seconds)
        figures.add("pictures painted for callers", len(pictures), least=seconds / 10)
        figures.add("partial images a picture", sum(pictures) / max(1, len(pictures)))
    figures.add("rows: p99 from drawing to receipt, alone", alone, "ms")
    figures.add("beside callers", beside, "ms")
    figures.add("later by", beside - alone, "ms", most=MOST_MORE)
    with server_process(*DRAWING) as drawing, Crowd(drawing.url) as crowd:
        everybody = Drawers(crowd, VIEWERS + CALLERS)
        without = gaps(everybody, seconds)
    with server_process(*DRAWING) as drawing, Crowd(drawing.url) as crowd:
        viewers = Drawers(crowd, VIEWERS)
        with callers(drawing.url) as pictures:
            painted_for = gaps(viewers, seconds)
    for what, times in (("16 that decode", without), ("8, and 8 painted for", painted_for)):
        for share in (0.5, 0.99):
            gap = 1_000 * percentile(times, share)
            figures.add(f"both cores busy, {what}: p{100 * share:g} between rows", gap, "ms")
    return figures


def lateness(viewers: Drawers, seconds: float) -> float:
    """p99 of milliseconds from the drawing of a row to its receipt."""
    grid, late = postcards_grid(), []
    viewers.settle()
    for _, ids, when in viewers.rows(seconds):
        for row in range(len(ids) // POSTCARDS_ROW):
            stamp = np.frombuffer(ids, "<u2", STAMP_DIGITS, row * POSTCARDS_ROW)
            late.append(when - seconds_of(grid, stamp))
    return 1_000 * percentile(late, 0.99)


def gaps(viewers: Drawers, seconds: float) -> list[float]:
    """Seconds between two frames with rows of a viewer."""
    last: dict[int, float] = {}
    found = []
    viewers.settle()
    for number, _, when in viewers.rows(seconds):
        if number in last:
            found.append(when - last[number])
        last[number] = when
    return found


@contextmanager
def callers(server_url: str) -> Iterator[list[int]]:
    """Callers of a gateway before the server; of each picture that they got the number of partial
    images, once they have gone."""
    pictures: list[int] = []
    with server_process("rowcast", "openai", server_url, "--stop-at-eof") as gateway:
        command = [sys.executable, "-m", "tests.soak.load.sdk_callers", gateway.url]
        with subprocess.Popen(
            [*command, str(CALLERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield pictures
            told, _ = process.communicate("\n")
            pictures += map(int, told.split())


def _greeted(crowd: Crowd, count: int) -> list[Line]:
    lines = crowd.open_many(count, request(crowd.url) + hello(), said=1)
    pause(crowd, SETTLING_SECONDS)
    return lines
