"""Cuts viewers that do not read.

`websockets`' keepalive cannot: with a full write buffer its ping waits for the buffer to drain
before its own clock starts. So every send has an end of its own, and the kernel is told to give up
on bytes that nobody acknowledges.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from websockets.asyncio.server import ServerConnection

SEND_BUFFER_BYTES = 65_536  # the kernel would hide megabytes of lag otherwise


class ViewerTooSlow(Exception):
    """The viewer did not take a frame in time; its connection has been aborted."""


def prepare_socket(connection: ServerConnection, timeout: float) -> None:
    """Bound what the kernel buffers, and how long it waits for acknowledgements (seconds)."""
    sock = connection.transport.get_extra_info("socket")
    if sock is None:
        return
    with suppress(OSError):  # not every platform knows these
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout * 1000))


async def send_within(connection: ServerConnection, frame: bytes, timeout: float) -> None:
    """Send a frame, or abort the connection. Raises ViewerTooSlow."""
    try:
        async with asyncio.timeout(timeout):
            await connection.send(frame)
    except TimeoutError:
        connection.transport.abort()
        raise ViewerTooSlow(f"a frame was not taken in {timeout:g} s") from None
