"""One port for both protocols: the head of a connection's first request says which it speaks.

A connection is first an `Arrival`, bounded in bytes and seconds. Once its request is read and
checked, its transport is given to `websockets` or to `aiohttp`, with the bytes that were read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Protocol

from ..clients import Visitor
from ..config import ServerConfig
from ..metrics import Metrics
from .request_head import END, MAX_HEAD_BYTES, RequestHead, RequestRefused, read_head
from .sockets import BACKLOG, is_unix
from .tls import Certificates
from .visitors import UNKNOWN, Doorman, peer_of
from .watchdog import Left

logger = logging.getLogger(__name__)

AT_ONCE: Final = 8  # connections taken in one turn of the loop: others come between
CLOSE_SECONDS: Final = 2.0  # that TLS has to end, and who is refused to go
HTTP_SHARE: Final = 4  # one in so many connections may be HTTP
RETRY_SECONDS: Final = 5  # after a refusal for want of room
DESCRIPTORS_KEPT: Final = 64  # for files, logs and the system's own


class Side(Protocol):
    """What speaks one of the two protocols."""

    def take(self, transport: asyncio.Transport, data: bytes, visitor: Visitor, left: Left) -> None:
        """Have a connection that has sent ``data``; ``left`` is to be called when it is lost."""


class Listener:
    """Listens, and keeps count: of connections in all, of one address, and not yet read."""

    def __init__(
        self,
        config: ServerConfig,
        doorman: Doorman,
        websocket: Side,
        http: Side,
        certificates: Certificates | None,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.doorman = doorman
        self.certificates = certificates
        self.metrics = metrics
        self._websocket = websocket
        self._http = http
        self._servers: list[asyncio.Server] = []
        self._arrivals: dict[Arrival, None] = {}  # the oldest first
        self._by_address: Counter[str] = Counter()
        self._connections = 0  # that were handed over
        self._http_connections = 0
        self._most = descriptors_for(config)

    async def listen(self, sockets: list[socket.socket], *, websocket: bool, http: bool) -> None:
        """Take connections of these kinds from bound sockets."""
        loop = asyncio.get_running_loop()
        for bound in sockets:
            make = loop.create_unix_server if is_unix(bound) else loop.create_server
            server = await make(lambda: Arrival(self, websocket, http), sock=bound, backlog=AT_ONCE)
            bound.listen(BACKLOG)  # asyncio takes one number for what waits and what it takes
            self._servers.append(server)

    @property
    def load(self) -> dict[str, float]:
        """Connections by what they are."""
        return {
            "websocket_connections": self._connections - self._http_connections,
            "http_connections": self._http_connections,
            "handshakes": len(self._arrivals),
        }

    def close(self) -> None:
        """Listen no more, and let go of those whose request is not read."""
        for server in self._servers:
            server.close()
        for arrival in tuple(self._arrivals):
            arrival.abort()

    def arrived(self, arrival: Arrival) -> None:
        """Count a connection. Where there are too many unread ones, the oldest goes."""
        self._arrivals[arrival] = None
        if len(self._arrivals) > self.config.handshakes:
            next(iter(self._arrivals)).abort()

    def left(self, arrival: Arrival) -> None:
        """A connection is not an arrival any more: it is lost, refused or handed over."""
        self._arrivals.pop(arrival, None)

    def hand_over(
        self, arrival: Arrival, transport: asyncio.Transport, asked: RequestHead, data: bytes
    ) -> None:
        """Give a connection to the side that its request asks for. Raises RequestRefused."""
        side = self._side(asked, arrival)
        visitor = self.doorman.visitor(asked, arrival.peer)
        address = visitor.address
        is_http = side is self._http
        if self._by_address[address] >= self.config.address_connections:
            raise RequestRefused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"there are {self._by_address[address]} connections from your address; close one",
                RETRY_SECONDS,
            )
        if self._connections >= self._most or (
            is_http and self._http_connections >= max(1, self._most // HTTP_SHARE)
        ):
            raise RequestRefused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "this server has as many connections as it takes; try again",
                RETRY_SECONDS,
            )
        self._by_address[address] += 1
        self._connections += 1
        self._http_connections += is_http

        def left() -> None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            self._connections -= 1
            self._http_connections -= is_http

        side.take(transport, data, visitor, left)

    def _side(self, asked: RequestHead, arrival: Arrival) -> Side:
        if asked.is_websocket:
            if arrival.websocket:
                return self._websocket
            raise RequestRefused(
                HTTPStatus.BAD_REQUEST, "this is the HTTP port; --port has the WebSocket"
            )
        if arrival.http:
            return self._http
        raise RequestRefused(
            HTTPStatus.UPGRADE_REQUIRED, "this port is for WebSockets; --http-port has the files"
        )


class Arrival(asyncio.Protocol):
    """A connection whose request is not read yet."""

    def __init__(self, listener: Listener, websocket: bool, http: bool) -> None:
        self.websocket = websocket
        self.http = http
        self.peer = UNKNOWN
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._head = bytearray()
        self._refused = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._securing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = peer_of(transport)
        self._timer = self._loop.call_later(self._listener.config.open_timeout, self._be_late)
        self._listener.arrived(self)
        if self._listener.certificates is not None and not transport.is_closing():
            transport.pause_reading()  # its first bytes are for TLS
            self._securing = self._loop.create_task(self._secure(self._listener.certificates))

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._head += data
        if self._securing is None:  # else there is nothing yet to answer by
            self._read(max(0, len(self._head) - len(data) - len(END)))

    def _read(self, begin: int) -> None:
        """Go on once the head is whole, whose end is not before ``begin``."""
        end = self._head.find(END, begin)
        if end < 0 and len(self._head) <= MAX_HEAD_BYTES:
            return
        try:
            if not 0 <= end <= MAX_HEAD_BYTES:
                raise RequestRefused(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"the head of a request may have {MAX_HEAD_BYTES} bytes",
                )
            asked = read_head(bytes(self._head[: end + len(END)]))
            self._listener.hand_over(self, self._transport, asked, bytes(self._head))
        except RequestRefused as refusal:
            logger.info("refused %s: %d %s", self.peer, refusal.status, refusal)
            self._listener.metrics.refused(f"http_{refusal.status}")
            self._refuse(refusal)
        else:
            self._leave()

    def _refuse(self, refusal: RequestRefused) -> None:
        """Answer, and read on without a look: with bytes unread, a close would be a reset, which
        takes the answer away from who has not read it yet."""
        self._refused = True
        self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_SECONDS, self.abort)
        self._transport.write(refusal.response())
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def abort(self) -> None:
        """Drop it, without a word."""
        self._leave()
        if self._securing is not None:
            self._securing.cancel()
        self._transport.abort()

    def _be_late(self) -> None:
        logger.info("%s sent no request in time", self.peer)
        self.abort()

    def _leave(self) -> None:
        self._timer.cancel()
        self._listener.left(self)

    async def _secure(self, certificates: Certificates) -> None:
        secured = None
        with suppress(OSError):  # what ssl raises is one too
            secured = await self._loop.start_tls(
                self._transport,
                self,
                certificates.context,
                server_side=True,
                ssl_handshake_timeout=self._listener.config.open_timeout,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
        self._securing = None
        if secured is None:  # asyncio tells a protocol of no loss before the handshake's end
            self.abort()
        else:
            self._transport = secured
            self._read(0)  # what came together with the end of the handshake


def descriptors_for(config: ServerConfig) -> int:
    """The connections that this process may have: what is configured, or what its descriptors are
    enough for. The soft limit is raised where it can be."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return config.connections
    wanted = config.connections + config.handshakes + DESCRIPTORS_KEPT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            left = max(1, soft - config.handshakes - DESCRIPTORS_KEPT)
            logger.warning(
                "--connections %d: this process may open %d files; taking %d connections",
                config.connections,
                soft,
                left,
            )
            return left
    return config.connections
