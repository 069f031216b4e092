"""Cutting viewers that do not read.

`websockets`' keepalive cannot: with a full write buffer its ping waits for the buffer to drain
before its own clock starts. So every send has a timeout of its own, and the kernel is told to give
up on bytes that nobody acknowledges. Pings are ours too: its task for each connection took twice
the memory and the time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rowcast.transport import ReadsInPieces
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from ..clients import Visitor
from ..errors import ViewerTooSlow

logger = logging.getLogger(__name__)

SEND_BUFFER_BYTES = 65_536  # the kernel would hide megabytes of lag otherwise
HURRIED_SECONDS = 0.5  # that clients have to close, once a server is to stop at once
MAX_UNSENT_BYTES = 1_048_576  # a frame and the answers to one read are far less

Left = Callable[[], None]


class WatchedConnection(ReadsInPieces, ServerConnection):
    """A connection that is cut when too much is unsent, and read a little at a time.

    `websockets` answers pings (RFC 6455 section 5.5.2) by itself and waits for nobody to read the
    answers: a client that sent pings and read nothing made it buffer 140 MB in six seconds.
    """

    # In slots, as with more than 30 attributes in its dictionary an object is 1,300 bytes larger.
    __slots__ = ("_answered", "_timer", "left", "visitor")

    visitor: Visitor
    left: Left
    _answered: bool  # the last ping
    _timer: asyncio.TimerHandle | None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._answered, self._timer = True, None
        super().connection_made(transport)

    def forget_request(self) -> None:
        """Let go of the request that opened it, and of its answer: 3 KB that nobody asks for."""
        assert self.request is not None
        self.request.headers.clear()
        self.response = None

    def start_keepalive(self) -> None:
        """Ping it every `ping_interval` seconds, and cut it if it leaves one unanswered for half of
        that."""
        assert self.ping_interval is not None
        half = self.ping_interval / 2
        self._timer = self.loop.call_later(self.ping_interval, self._ping, half)

    def _ping(self, half: float) -> None:
        if self.state is State.OPEN:
            self._answered = False
            self.protocol.send_ping(b"")
            self.send_data()
            self._timer = self.loop.call_later(half, self._pinged, half)

    def _pinged(self, half: float) -> None:
        if self._answered:
            self._timer = self.loop.call_later(half, self._ping, half)
        else:
            logger.info("%s left a ping unanswered", self.visitor.address)
            self.transport.abort()

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode is Opcode.PONG:
            self._answered = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        self.left()

    def sending(self, frame: bytes) -> Awaitable[None] | None:
        """Send a frame; returns what is still to be awaited, if anything is.

        `send` enters contexts that take longer than a row does.
        """
        if self.state is not State.OPEN or self.transport.get_write_buffer_size():
            return self.send(frame)
        self.protocol.send_binary(frame)
        self.send_data()
        # Where it was just lost, `drain` lets the loop say so before the next frame.
        return self.drain() if self.paused or self.transport.is_closing() else None

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()


def library_log(name: str) -> logging.Logger:
    """The log of a library that has our connections: at DEBUG it would show tokens, above it what
    peers did wrong. What fails here is logged here."""
    log = logging.getLogger(name)
    log.setLevel(logging.CRITICAL)
    return log


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
