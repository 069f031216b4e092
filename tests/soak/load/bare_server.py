"""`python -m tests.soak.load.bare_server`: what `websockets` alone does, to compare with.

It sends the same bytes at the same pace as a scripted server: to each viewer the rows of one of
`--jobs` jobs, from when it has sent two messages. It has the same settings of `websockets`, and
nothing else: no limits, no log of rows, no deadline for a viewer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from itertools import count

from rowcast.messages import SUBPROTOCOL, Rows, encode
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ..cuts import postcards_grid
from ..scripted_server import ids_of_row, stamp

WELCOME = bytes(600)  # about as long as ours; then an `accepted`
ACCEPTED = bytes(40)


class BareServer:
    """Viewers of jobs; each has a queue of frames."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._came = count()
        self._viewers: list[set[asyncio.Queue[bytes]]] = [set() for _ in range(jobs)]

    async def handle(self, connection: ServerConnection) -> None:
        """A viewer, until it leaves."""
        try:
            await connection.recv()
            await connection.send(WELCOME)
            await connection.recv()
            await connection.send(ACCEPTED)
            frames: asyncio.Queue[bytes] = asyncio.Queue()
            viewers = self._viewers[next(self._came) % self.jobs]
            viewers.add(frames)
            try:
                while True:
                    await connection.send(await frames.get())
            finally:
                viewers.discard(frames)
        except ConnectionClosed:
            pass

    def send(self, job: int, row: bytes) -> None:
        """A row of a job, to its viewers."""
        for frames in self._viewers[job]:
            frames.put_nowait(row)


def draw(server: BareServer, seconds_a_row: float, loop: asyncio.AbstractEventLoop) -> None:
    """Make rows of one job after another, as an engine's thread does."""
    grid = postcards_grid()
    for row in count():
        for job in range(server.jobs):
            time.sleep(seconds_a_row / server.jobs)
            ids = ids_of_row(grid, job, 0, row)
            stamp(grid, ids)
            frame = encode(Rows(0, row, ids.astype("<u2").tobytes()))
            loop.call_soon_threadsafe(server.send, job, frame)


async def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds-a-row", type=float, default=0.1)
    options = parser.parse_args(arguments)
    bare, loop = BareServer(options.jobs), asyncio.get_running_loop()
    settings = {"compression": None, "subprotocols": [SUBPROTOCOL], "write_limit": 16_384}
    async with serve(bare.handle, "127.0.0.1", options.port, backlog=1_024, **settings) as server:  # type: ignore[arg-type]
        pace = bare, options.seconds_a_row, loop
        threading.Thread(target=draw, args=pace, daemon=True).start()
        port = server.sockets[0].getsockname()[1]
        print(f"ready ws://127.0.0.1:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
