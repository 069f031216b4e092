"""A link that a test can break: TCP forwarded to a server, cut and led elsewhere at will."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Proxy:
    """Forwards bytes to ``target``, a WebSocket's address; ``url`` is where it listens."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Break every link, as a lost network does: without a word."""
        self._call(self._cut())

    def _call(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)  # type: ignore[arg-type]

    async def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        target = urlsplit(self.target)
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(far_writer)
        there = asyncio.create_task(_pump(reader, far_writer))
        back = asyncio.create_task(_pump(far_reader, writer))
        self._tasks |= {there, back}
        await asyncio.wait({there, back})
        self._tasks -= {there, back}
        self._open -= {writer, far_writer}

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    link = Proxy(target)
    thread = threading.Thread(target=link._loop.run_forever, daemon=True)
    thread.start()
    try:
        link._call(link._start())
        yield link
    finally:
        link._call(link._stop())
        link._loop.call_soon_threadsafe(link._loop.stop)
        thread.join(10)
        link._loop.close()
