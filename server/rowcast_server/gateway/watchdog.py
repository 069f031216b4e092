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

from rowcast.transport import ReadsInPieces
from websockets.asyncio.server import ServerConnection

from ..clients import Visitor
from ..errors import ViewerTooSlow

SEND_BUFFER_BYTES = 65_536  # the kernel would hide megabytes of lag otherwise
MAX_UNSENT_BYTES = 1_048_576  # a frame and the answers to one read are far less

Left = Callable[[], None]


class WatchedConnection(ReadsInPieces, ServerConnection):
    """A connection that is cut when too much is unsent, and read a little at a time.

    `websockets` answers pings (RFC 6455 section 5.5.2) by itself and waits for nobody to read the
    answers: a client that sent pings and read nothing made it buffer 140 MB in six seconds.
    """

    visitor: Visitor
    left: Left

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.left()

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()


def prepare_socket(
    transport: asyncio.BaseTransport, timeout: float, send_buffer: int | None = None
) -> None:
    """Bound how long the kernel waits for acknowledgements (seconds), and, for frames, what it
    buffers (bytes)."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError):  # not every platform knows these
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
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
