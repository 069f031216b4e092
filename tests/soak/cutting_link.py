"""A TCP proxy in this event loop, whose connections break after so many bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Cut:
    """The end of a connection once ``after`` bytes have passed one way: to the server, if
    ``upwards``. Both sides then see a reset (RST), or the end of the stream (FIN)."""

    after: int
    upwards: bool = False
    reset: bool = True


@dataclass(eq=False)
class Line:
    """A connection through the link, and the bytes that have passed each way [down, up]."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    cut: Cut | None = None
    passed: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def left(self) -> int:
        """Bytes that may still pass in the direction of the cut."""
        assert self.cut is not None
        return self.cut.after - self.passed[self.cut.upwards]

    def end(self) -> None:
        """End it as its cut says."""
        for writer in self.writers:
            if writer.is_closing():
                continue
            if self.cut is not None and self.cut.reset:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class CuttingLink:
    """A link to ``target``, a WebSocket's address, for one client; used with ``async with``.

    The first connection is whole until `arm`; then it gets the first of the cuts, which counts
    from there. Each later connection gets the next, from its first byte on; when there are none
    left, it is whole. ``made`` counts the cuts that were reached, ``lines`` are all connections.
    """

    def __init__(self, target: str, cuts: Iterable[Cut] = ()) -> None:
        self._target = urlsplit(target)
        self._cuts = list(cuts)
        self._tasks: set[asyncio.Task[None]] = set()
        self.lines: list[Line] = []
        self.made = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in self.lines:
            for writer in line.writers:
                writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def arm(self) -> None:
        """Begin to count."""
        self.lines[0].passed = [0, 0]
        self._give_cut(self.lines[0])

    def _give_cut(self, line: Line) -> None:
        if self._cuts:
            line.cut = self._cuts.pop(0)
            if line.left == 0:
                self._end(line)

    def _end(self, line: Line) -> None:
        self.made += 1
        line.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                self._target.hostname, self._target.port
            )
        except OSError:
            writer.transport.abort()
        else:
            line = Line((writer, far_writer))
            self.lines.append(line)
            if len(self.lines) > 1:
                self._give_cut(line)
            await asyncio.gather(
                self._pump(line, reader, far_writer, upwards=True),
                self._pump(line, far_reader, writer, upwards=False),
            )
        finally:
            self._tasks.discard(task)

    async def _pump(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upwards: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if line.cut is not None and line.cut.upwards == upwards:
                    if line.left == 0:  # cut already: what was read before goes nowhere
                        return
                    data = data[: line.left]
                line.passed[upwards] += len(data)
                writer.write(data)
                if line.cut is not None and line.cut.upwards == upwards and line.left == 0:
                    self._end(line)
                    return
                await writer.drain()
        writer.close()
