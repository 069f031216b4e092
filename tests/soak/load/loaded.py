"""A scripted server under load, and what it takes: memory, processor, sockets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..server_process import SCRIPTED, ServerProcess

BARE = ("tests.soak.load.bare_server",)
PAGE = os.sysconf("SC_PAGE_SIZE")


class LoadedServer(ServerProcess):
    """A server in a process of its own, and that process seen from outside."""

    @property
    def speaks_rowcast(self) -> bool:
        """False for a bare server, that sends rows to whoever says anything twice."""
        return self._words[0] not in BARE

    @property
    def memory(self) -> int:
        """Bytes that the process has for itself."""
        return memory_of(self.process.pid)

    @property
    def seconds(self) -> float:
        """Of processor time, so far."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def held(self) -> dict[str, float]:
        """What a scripted server has at the moment, by its own count."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        counts: dict[str, float] = json.loads(self.process.stdout.readline())
        return counts


@contextmanager
def loaded_server(*words: str, module: tuple[str, ...] = SCRIPTED) -> Iterator[LoadedServer]:
    """A server that takes connections; it ends with the block."""
    server = LoadedServer(*module, *words)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def memory_of(process: int) -> int:
    """Bytes of memory that no other process has: of libraries that are shared a share would change
    with every other Python that starts or ends."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    if not private:
        raise OSError(f"process {process} has gone")
    return sum(private) * 1_024


def socket_memory() -> int:
    """Bytes that the kernel has for TCP buffers, of all processes of this machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1]) * PAGE
    raise OSError("the kernel does not tell")
