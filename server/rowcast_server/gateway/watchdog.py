"""Cutting viewers that do not read.

`websockets`' keepalive cannot: with a full write buffer its ping waits for the buffer to drain
before its own clock starts. So every send has a timeout of its own, and the kernel is told to give
up on bytes that nobody acknowledges.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.server import ServerConnection

from ..clients import Visitor
from ..errors import ViewerTooSlow

SEND_BUFFER_BYTES = 65_536  # the kernel would hide megabytes of lag otherwise
MAX_UNSENT_BYTES = 1_048_576  # a frame and the answers to one read are far less
READ_BYTES = 4_096  # at a time: 680 of the shortest frames, some 7 ms

Left = Callable[[], None]


class WatchedConnection(ServerConnection):
    """A connection that is cut when too much is unsent, and read a little at a time.

    `websockets` answers pings (RFC 6455 section 5.5.2) by itself and waits for nobody to read the
    answers: a client that sent pings and read nothing made it buffer 140 MB in six seconds. And it
    reads all frames of what the loop hands it, up to 256 KiB, in one go.
    """

    visitor: Visitor
    left: Left

    def data_received(self, data: bytes) -> None:
        if not self._unread and len(data) <= READ_BYTES:
            self._feed(data)
            return
        self._unread += data
        self.transport.pause_reading()
        if len(self._unread) == len(data):  # else it is under way
            self._read_on()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._unread = b""
        super().connection_made(transport)

    def eof_received(self) -> None:
        self._feed(self._unread)
        self._unread = b""
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        super().connection_lost(exc)
        self.left()

    def _read_on(self) -> None:
        """Feed a piece; the loop's other work comes between this and the next."""
        if not self._unread:
            return  # the connection was lost meanwhile
        piece, self._unread = self._unread[:READ_BYTES], self._unread[READ_BYTES:]
        self._feed(piece)
        if self._unread:
            self.loop.call_soon(self._read_on)
        elif not self.recv_messages.paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()


def prepare_socket(transport: asyncio.BaseTransport, timeout: float) -> None:
    """Bound what the kernel buffers, and how long it waits for acknowledgements (seconds)."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError):  # not every platform knows these
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout * 1000))


async def in_time(connection: ServerConnection, sending: Awaitable[None], timeout: float) -> None:
    """Await a frame or a close on its way, or abort the connection: with a full write buffer not
    even a close frame gets out. Raises ViewerTooSlow."""
    try:
        async with asyncio.timeout(timeout):
            await sending
    except TimeoutError:
        connection.transport.abort()
        raise ViewerTooSlow(f"a frame was not taken in {timeout:g} s") from None
