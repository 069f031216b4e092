"""A hundred thousand guesses of view keys, and as many of tokens: none fits, and they are limited.

Keys through a socket of a server that counts no failures, at random and a bit away from a true one;
tokens by the server's own check, as `tools/guess_tokens.py` does; and both through sockets of a
server that does count.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from rowcast.messages import view_key
from rowcast_server.access import sign_token

from tests.support.raw_client import ACCEPTED, ERROR
from tools.guess_tokens import GUESSES, admitted_of

from ..scenario import Figures
from .loaded import LoadedServer, loaded_server
from .wire import HEAD_END, Crowd, hello, request, start, watch

COUNT, QUICK_COUNT = 100_000, 2_000
PIPELINED = 200
A_MINUTE, AT_ONCE = 60, 4 * 60  # failures, by default
TRIES, QUICK_TRIES = 500, 300
OTHER_ADDRESS = "127.0.0.2"


def run(quick: bool) -> Figures:
    figures, count = Figures(), QUICK_COUNT if quick else COUNT
    with loaded_server("--slots=1", "--seconds-a-row=1") as server, Crowd(server.url) as crowd:
        guess_keys(figures, crowd, count)
    admitted = sum(admitted_of(count // len(GUESSES), kind, 1) for kind in GUESSES)
    figures.add("tokens guessed", count)
    figures.add("tokens admitted", admitted, most=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets"
        file.write_text(secrets.token_urlsafe(32) + "\n")
        words = f"--failures-per-minute={A_MINUTE}", f"--token-secret-file={file}"
        with loaded_server(*words) as server, Crowd(server.url) as crowd:
            true = sign_token(file.read_bytes().strip(), "alice", time.time() + 600)
            be_limited(figures, server, crowd, true, QUICK_TRIES if quick else TRIES)
    return figures


def guess_keys(figures: Figures, crowd: Crowd, count: int) -> None:
    """Watch what nobody told of."""
    key, chance = os.urandom(16), random.Random(1)
    true = view_key(key)
    line = crowd.open_many(1, request(crowd.url) + hello() + start(0, key), said=2)[0]
    line.socket.setblocking(True)
    answers = {ACCEPTED: 0, ERROR: 0}
    for first in range(0, count, PIPELINED):
        frames = []
        for number in range(first, min(count, first + PIPELINED)):
            near = bytearray(true)
            near[number % 16] ^= 1 << number // 16 % 8
            frames.append(watch(1, chance.randbytes(16) if number % 2 else bytes(near)))
        line.send(b"".join(frames))
        due, came = len(frames), 0
        while came < due and not line.code:
            for _, payload, _ in crowd.frames(5.0, once=True):
                if payload[1] in answers and payload[2] == 1:
                    answers[payload[1]] += 1
                    came += 1
    figures.add("keys guessed", sum(answers.values()), least=count)
    figures.add("keys accepted", answers[ACCEPTED], most=0)
    figures.add("connection of the guesses closed by", line.code, most=0)


def be_limited(figures: Figures, server: LoadedServer, crowd: Crowd, true: str, tries: int) -> None:
    """Tokens, a connection each: so many are looked at, and no more."""
    begun, codes = time.monotonic(), list[int]()
    for number in range(tries):
        line = crowd.open(request(server.url) + hello(f"{true[:-9]}{number:09}"))
        crowd.until(lambda line=line: line.code)
        codes.append(line.code)
    minutes = (time.monotonic() - begun) / 60
    figures.add("tokens guessed through sockets", tries)
    figures.add(
        "of them looked at", codes.count(4403), most=AT_ONCE + A_MINUTE * minutes + 1, least=AT_ONCE
    )
    figures.add("of them refused unseen (4529)", codes.count(4529), least=1)
    figures.add("of them answered otherwise", tries - codes.count(4403) - codes.count(4529), most=0)
    figures.add("status of a guess by HTTP then", http_status(server.url, "x"), most=429, least=429)
    other = crowd.open_many(1, request(server.url) + hello(true), source=OTHER_ADDRESS)[0]
    figures.add("others that are kept out", int(bool(other.code)), most=0)


def http_status(url: str, token: str) -> int:
    """The status of a request with a token."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 10) as sock:
        fields = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}"
        sock.sendall(f"GET /readyz HTTP/1.1\r\n{fields}".encode() + HEAD_END)
        return int(sock.recv(4_096)[9:12])
