"""A client with two hundred connections keeps others waiting no longer than one with a single one.

It asks for two hundred pictures at any time, more than may wait. Without tokens a client is an
address, and the other one comes from another; with signed tokens it is a subject, and both come
from one address.
"""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from pathlib import Path

import msgpack
from rowcast_server.access import sign_token

from tests.support.raw_client import DONE, ERROR

from ..scenario import Figures, say
from .loaded import loaded_server
from .wire import Crowd, Line, hello, request, start

CONNECTIONS = 200
ASKED = 200  # pictures at any time, whatever the connections
PICTURES, QUICK_PICTURES = 40, 8  # of the other client, one after another
MOST_RATIO = 2.0
FILLING_SECONDS = 1.0
AGAIN_SECONDS = 0.05  # after a refusal
OTHER_ADDRESS = "127.0.0.2"
SERVER = (
    "--slots=4",
    "--queue=64",
    "--seconds-a-row=0.005",
    f"--address-connections={CONNECTIONS + 2}",
)


def run(quick: bool) -> Figures:
    figures, pictures = Figures(), QUICK_PICTURES if quick else PICTURES
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets"
        file.write_text(secrets.token_urlsafe(32) + "\n")
        for signed in (False, True):
            words = (f"--token-secret-file={file}",) if signed else ()
            secret = file.read_bytes().strip() if signed else None
            waits = {count: waited(words, secret, count, pictures) for count in (1, CONNECTIONS)}
            by = "by token" if signed else "by address"
            for count, (wait, refused) in waits.items():
                figures.add(f"wait beside {count} connections, {by}", 1_000 * wait, "ms")
                figures.add(f"refusals of their client, {by}", refused, least=1)
            ratio = waits[CONNECTIONS][0] / waits[1][0]
            figures.add(f"waits longer by, {by}", ratio, most=MOST_RATIO)
    return figures


def waited(
    words: tuple[str, ...], secret: bytes | None, count: int, pictures: int
) -> tuple[float, int]:
    """Seconds of a client's picture, the median, beside another with so many connections; and how
    often that was refused one."""
    tokens = [
        None if secret is None else sign_token(secret, name, time.time() + 600) for name in "ab"
    ]
    with loaded_server(*SERVER, *words) as server, Crowd(server.url) as crowd:
        greetings = [request(server.url) + hello(token) for token in tokens]
        other = "" if secret else OTHER_ADDRESS
        lines = crowd.open_many(count, greetings[0])
        honest = crowd.open_many(1, greetings[1], source=other)[0]
        greedy = Greedy(lines)
        greedy.read(crowd, FILLING_SECONDS)
        waits = []
        for _ in range(pictures):
            begun = time.monotonic()
            honest.send(start(0, os.urandom(16)))
            greedy.read(crowd, 60.0, until=honest)
            waits.append(time.monotonic() - begun)
        median = statistics.median(waits)
        say(f"  beside {count} connections: {1_000 * median:.0f} ms a picture")
        return median, greedy.refused


class Greedy:
    """A client that has asked for `ASKED` pictures at any time."""

    def __init__(self, lines: list[Line]) -> None:
        self.refused = 0
        self._mine = {line.number for line in lines}
        self._again: list[tuple[float, Line, int]] = []  # when to ask, for which stream
        each = ASKED // len(lines)
        for line in lines:
            for stream in range(each):
                line.send(start(stream, os.urandom(16)))

    def read(self, crowd: Crowd, seconds: float, until: Line | None = None) -> None:
        """Ask for a picture as soon as one has ended, for so long or ``until`` another has its."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line, payload, when in crowd.frames(AGAIN_SECONDS / 5, once=True):
                if payload[1] not in (DONE, ERROR):
                    continue
                if line is until:
                    return
                if line.number in self._mine:
                    refused = payload[1] == ERROR
                    self.refused += refused
                    self._again.append(
                        (when + AGAIN_SECONDS * refused, line, msgpack.unpackb(payload)[1])
                    )
            now = time.monotonic()
            due = [each for each in self._again if each[0] <= now]
            self._again = [each for each in self._again if each[0] > now]
            for _, line, stream in due:
                line.send(start(stream, os.urandom(16)))
        if until is not None:
            raise TimeoutError("the other client's picture did not come")
