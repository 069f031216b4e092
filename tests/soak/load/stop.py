"""A server that is asked to stop does, whoever is there: in 20 s, and at once if asked twice.

A hundred viewers do not read, twenty downloads are not read, and more pictures wait than the time
that they are given is enough for. It is the real command with the real engine.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from urllib.parse import urlsplit

from rowcast.messages import view_key

from ..scenario import Figures
from ..server_process import REAL
from .latency import pause
from .loaded import LoadedServer, loaded_server
from .wire import HEAD_END, Crowd, hello, request, start, watch

VIEWERS, DOWNLOADS = 100, 20
QUICK_SHARE = 5
WATCHED = 16  # pictures that each viewer watches: more bytes than it takes
SMALL_BUFFER = 4_096
MOST_SECONDS, AT_ONCE_SECONDS = 20.0, 3.0
LIMITS = ("--address-connections=1000", "--client-pictures=1000", "--starts-per-minute=10000")


def run(quick: bool) -> Figures:
    figures, share = Figures(), QUICK_SHARE if quick else 1
    for twice in (False, True):
        with (
            loaded_server(*REAL[1:], *LIMITS, module=REAL[:1]) as server,
            Crowd(server.url) as crowd,
        ):
            stall(server, crowd, VIEWERS // share, DOWNLOADS // share)
            stop(figures, server, twice)
    return figures


def stall(server: LoadedServer, crowd: Crowd, viewers: int, downloads: int) -> None:
    """Viewers and downloads that take nothing, of more pictures than can be drawn in time."""
    keys = [os.urandom(16) for _ in range(4)]
    greeting = request(server.url) + hello()
    frames = [start(64 * number, key, images=64) for number, key in enumerate(keys)]
    crowd.open_many(1, greeting + b"".join(frames), said=20)
    asked = [watch(image, view_key(keys[0]), image) for image in range(WATCHED)]
    for _ in range(viewers):
        crowd.open(greeting + b"".join(asked), receive_buffer=SMALL_BUFFER, read=False)
    for _ in range(downloads):
        line = crowd.open(file_request(server), receive_buffer=SMALL_BUFFER, read=False)
        line.status = 200
    pause(crowd, 2.0)


def file_request(server: LoadedServer) -> bytes:
    """A request for the largest file."""
    from rowcast_server.models.loading import load

    file = max(load("postcard").files, key=lambda each: each.size)
    path = f"/detokenizer/{file.sha256.hex()}{file.path.suffix}"
    host = urlsplit(server.url).netloc
    return f"GET {path} HTTP/1.1\r\nHost: {host}".encode() + HEAD_END


def stop(figures: Figures, server: LoadedServer, twice: bool) -> None:
    """Ask it to stop, once or twice, and wait."""
    words = "asked twice" if twice else "asked once"
    figures.add(f"ready before, {words}", is_ready(server.url), least=1)
    server.process.send_signal(signal.SIGINT if twice else signal.SIGTERM)
    time.sleep(0.25)
    figures.add(f"ready 0.25 s later, {words}", is_ready(server.url), most=0)
    if twice:
        time.sleep(1.0)
        server.process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    code = server.process.wait(3 * MOST_SECONDS)
    passed = time.monotonic() - begun + (0.0 if twice else 0.25)
    most = AT_ONCE_SECONDS if twice else MOST_SECONDS
    figures.add(f"ended after, {words}", passed, "s", most=most)
    figures.add(f"exit code, {words}", code, most=0)


def is_ready(url: str) -> int:
    """1 if a new request for /readyz is answered 200."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), 5) as sock:
            sock.sendall(f"GET /readyz HTTP/1.1\r\nHost: {parts.netloc}".encode() + HEAD_END)
            return int(sock.recv(4_096)[9:12] == b"200")
    except OSError:
        return 0
