"""Twenty minutes of everything at once: memory does not grow, and nothing is left over.

Pictures are drawn, watched, cancelled and cut off; frames and requests are refused; files are
fetched, some of them in part; requests are left half-open. Memory is read all the while; then, with
everybody gone, what the server holds is compared with what it held before.
"""

from __future__ import annotations

import os
import random
import socket
import time
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
from rowcast.messages import view_key
from rowcast_server.models.loading import load

from tests.support.hostile_frames import FRAMES
from tests.support.raw_client import masked

from ..scenario import Figures, say
from .latency import pause
from .loaded import LoadedServer, loaded_server
from .wire import HEAD_END, Crowd, Line, cancel, hello, request, start, watch

SECONDS, WARM_UP = 20 * 60.0, 4 * 60.0
QUICK_SECONDS, QUICK_WARM_UP = 60.0, 20.0
MOST_SLOPE = 1.0  # MiB in ten minutes
SAMPLE_SECONDS = 2.0
TURN_SECONDS = 0.05
LONGEST = 40  # lines at any time: the oldest is cut
SOURCES = 16  # addresses
GRACE, KEEP, OPEN_TIMEOUT = 1.0, 3.0, 2.0
LEAVING_SECONDS = 30.0  # that everything has to end in
FRAME_NAMES = sorted(FRAMES)
SERVER = (
    *("--slots=8", "--queue=64", "--seconds-a-row=0.01", f"--grace={GRACE:g}", f"--keep={KEEP:g}"),
    f"--open-timeout={OPEN_TIMEOUT:g}",
)


def run(quick: bool) -> Figures:
    seconds, warm_up = (QUICK_SECONDS, QUICK_WARM_UP) if quick else (SECONDS, WARM_UP)
    figures, port = Figures(), free_port()
    with (
        loaded_server(*SERVER, f"--metrics-port={port}") as server,
        Crowd(server.url) as crowd,
    ):
        load_of = Load(crowd)
        load_of.turn_for(2.0)
        load_of.leave()
        before = quiet(server, None)
        samples = mix(server, load_of, seconds)
        load_of.leave()
        after = quiet(server, before)
        told = metrics(port)
    times, sizes = np.array([each for each in samples if each[0] >= warm_up]).T
    slope = float(np.polyfit(times, sizes, 1)[0]) * 600 / 2**20
    figures.add("turns of mixed load", load_of.turns)
    figures.add("rows drawn", told["rowcast_rows_total"], least=1)
    figures.add("memory at the end", sizes[-1] / 2**20, "MiB")
    # In a minute Python's own pools still come and go: told, and held against the bar in 20.
    figures.add("growth in ten minutes", slope, "MiB", most=None if quick else MOST_SLOPE)
    for name, held in before.items():
        figures.add(f"{name.replace('_', ' ')} left over", after[name] - held, most=0)
    for name in ("websocket_connections", "http_connections", "handshakes", "pictures_kept"):
        figures.add(f"{name.replace('_', ' ')} by /metrics", told[f"rowcast_{name}"], most=0)
    return figures


def mix(server: LoadedServer, load_of: Load, seconds: float) -> list[tuple[float, float]]:
    """Mixed load for a while; returns memory (bytes) by time (seconds)."""
    samples: list[tuple[float, float]] = []
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        load_of.turn_for(SAMPLE_SECONDS)
        samples.append((passed, server.memory))
        if len(samples) % 30 == 0:
            say(f"  {passed:.0f} s: {samples[-1][1] / 2**20:.1f} MiB, {load_of.turns} turns")
    return samples


def quiet(server: LoadedServer, before: dict[str, float] | None) -> dict[str, float]:
    """What the server holds once everybody has gone."""
    end = time.monotonic() + LEAVING_SECONDS
    held = server.held()
    while time.monotonic() < end and (
        held["book_entries"] or held["handshakes"] or (before and held != before)
    ):
        time.sleep(0.5)
        held = server.held()
    return held


class Load:
    """Clients of all kinds, one thing after another."""

    def __init__(self, crowd: Crowd) -> None:
        self.turns = 0
        self._crowd = crowd
        self._chance = random.Random(1)
        self._greeting = request(crowd.url) + hello()
        self._keys: list[bytes] = [os.urandom(16)]
        self._lines: list[Line] = []
        sizes = sorted(load("postcard").files, key=lambda file: file.size)
        self._files = [
            f"GET /detokenizer/{each.sha256.hex()}{each.path.suffix} HTTP/1.1\r\n"
            f"Host: {urlsplit(crowd.url).netloc}\r\n".encode()
            for each in (sizes[-1], sizes[0])
        ]
        self._kinds: list[Callable[[], None]] = [
            *(self._draw, self._watch, self._cancel, self._cut, self._refuse),
            *(self._download, self._half_open, self._bad_request),
        ]

    def turn_for(self, seconds: float) -> None:
        """Begin something every `TURN_SECONDS`, and read."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._kinds[self.turns % len(self._kinds)]()
            self.turns += 1
            pause(self._crowd, TURN_SECONDS)
            self._lines = [line for line in self._lines if not line.code]
            while len(self._lines) > LONGEST:
                self._crowd.cut([self._lines.pop(0)])

    def leave(self) -> None:
        """Everybody goes."""
        self._crowd.cut(list(self._crowd.lines.values()))
        self._lines.clear()

    def _open(self, data: bytes, *, greeted: bool = True, read: bool = True) -> Line:
        source = f"127.0.1.{self.turns % SOURCES + 1}"
        greeting = self._greeting if greeted else b""
        line = self._crowd.open(greeting + data, source=source, read=read)
        self._lines.append(line)
        return line

    def _start(self) -> bytes:
        self._keys = [*self._keys[-7:], os.urandom(16)]
        return start(0, self._keys[-1], images=self._chance.randint(1, 4))

    def _draw(self) -> None:
        self._open(self._start())

    def _watch(self) -> None:
        keys = self._chance.choices(self._keys, k=4)
        self._open(b"".join(watch(stream, view_key(key)) for stream, key in enumerate(keys)))

    def _cancel(self) -> None:
        self._open(self._start() + cancel(0))

    def _cut(self) -> None:
        line = self._open(self._start())
        pause(self._crowd, 0.02)
        self._crowd.cut([line])

    def _refuse(self) -> None:
        name = FRAME_NAMES[self.turns // len(self._kinds) % len(FRAME_NAMES)]
        self._open(masked(FRAMES[name]) + watch(9, os.urandom(16)))

    def _download(self) -> None:
        """The small file whole; the large one until it is cut."""
        self._open(
            self._files[self.turns // len(self._kinds) % 2] + b"\r\n", greeted=False, read=False
        )

    def _half_open(self) -> None:
        self._open(self._greeting[: self._chance.randint(0, 90)], greeted=False, read=False)

    def _bad_request(self) -> None:
        self._open(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b" + HEAD_END, greeted=False)


def metrics(port: int) -> dict[str, float]:
    """What /metrics tells, of what has no labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    return {line[0]: float(line[1]) for line in lines if line[0] != "#" and "{" not in line[0]}


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
