"""A server in a process of its own, that can be killed and started again at the same port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SCRIPTED = ("tests.soak.scripted_server",)
REAL = ("rowcast", "serve", "--quiet", "--stop-at-eof")


class ServerProcess:
    """`python -m` with these words; it ends with this process, whatever ends that."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.process: subprocess.Popen[str]
        self.url = ""

    def start(self) -> None:
        """Start it, the first time at any port, and wait until it takes jobs."""
        port = self.url.rpartition(":")[2] or "0"
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self._words, f"--port={port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        word, *urls = self.process.stdout.readline().split() or [""]
        if word != "ready":
            raise RuntimeError(f"{' '.join(self._words)} ended with {self.process.wait()}")
        self.url = urls[0]

    def kill(self) -> str:
        """`kill -9`: nothing is said and nothing is saved. Returns the rest of its output."""
        self.process.kill()
        return self.process.communicate()[0]


@contextmanager
def server_process(*words: str) -> Iterator[ServerProcess]:
    """A server that takes jobs."""
    server = ServerProcess(*words)
    server.start()
    try:
        yield server
    finally:
        server.kill()
