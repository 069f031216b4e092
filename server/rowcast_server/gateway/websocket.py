"""The WebSocket side of a server, over `websockets`: connections that are given to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import cast

from rowcast.messages import HELLO_TIMEOUT_SECONDS, SUBPROTOCOL, CloseCode
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.server import ServerProtocol

from ..clients import Visitor
from ..config import ServerConfig
from ..errors import CloseConnection, ExpiredToken, ViewerTooSlow
from ..metrics import Metrics
from ..session import ServerSession
from .unsent import PACKET_BYTES, all_sent, unsent_on
from .watchdog import (
    HURRIED_SECONDS,
    SEND_BUFFER_BYTES,
    Left,
    WatchedConnection,
    in_time,
    library_log,
    prepare_socket,
)

logger = logging.getLogger(__name__)

# Larger than any limit we announce, so that a too large frame is met by our own close code; a
# frame beyond even this is closed by `websockets` with 1009 before it is buffered.
MAX_TRANSPORT_FRAME_BYTES = 1_114_112
WRITE_LIMIT_BYTES = 16_384
CLOSE_SECONDS = 2.0  # that a client has to answer our close


# Given who connected, and what to call when frames wait to be sent.
SessionFactory = Callable[[Visitor, Callable[[], None]], ServerSession]
# Called with each frame once its bytes are with the operating system, or in a buffer before it.
FrameHook = Callable[[bytes], None]


class WebSocketSide:
    """Moves frames between connections and sessions."""

    def __init__(
        self,
        config: ServerConfig,
        make_session: SessionFactory,
        metrics: Metrics,
        on_frame_sent: FrameHook = lambda frame: None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._make_session = make_session
        self._on_frame_sent = on_frame_sent
        self._sessions: set[ServerSession] = set()
        self._connections: set[WatchedConnection] = set()
        self._empty = asyncio.Event()  # no session is left, or it is not to be waited for
        self._closing = False
        self._log = library_log(f"{__name__}.websockets")
        self.handler_tasks: set[asyncio.Task[None]] = set()  # of `websockets`

    @property
    def watched(self) -> bool:
        """True if a stream is open on any connection."""
        return any(session.is_watched for session in self._sessions)

    def take(self, transport: asyncio.Transport, data: bytes, visitor: Visitor, left: Left) -> None:
        """Have a connection that has sent ``data``, the request for a WebSocket."""
        protocol = ServerProtocol(
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            max_size=MAX_TRANSPORT_FRAME_BYTES,
            logger=self._log,
        )
        connection = WatchedConnection(
            protocol,
            cast(Server, self),  # of which it uses `handler`, `handler_tasks` and `is_serving`
            ping_interval=self._config.ping_interval,
            close_timeout=CLOSE_SECONDS,
            write_limit=WRITE_LIMIT_BYTES,
        )
        connection.visitor, connection.left = visitor, left
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(data)

    async def handler(self, connection: ServerConnection) -> None:
        """The life of a connection, from its handshake on: a task that `websockets` starts."""
        assert isinstance(connection, WatchedConnection)
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self._config.open_timeout):
                await connection.handshake(server_header=None)
            if connection.state is State.OPEN:
                self._connections.add(connection)
                connection.forget_request()
                connection.start_keepalive()
                async with connection:
                    await self._handle(connection)
        except Exception as error:
            logger.info("%s failed to connect: %s", connection.visitor.address, error)
        finally:
            connection.transport.abort()
            self._connections.discard(connection)
            self.handler_tasks.discard(task)

    def is_serving(self) -> bool:
        """False once it closes: a handshake is then refused (HTTP 503)."""
        return not self._closing

    async def close(self, notice: float = 0.0) -> None:
        """Say goaway, and close every connection (1001). No more connections are to be given to it.

        Those on which a stream is open have ``notice`` seconds, or until their last stream has
        ended; `hurry` ends that.
        """
        self._closing = True
        if notice and self.watched:
            for session in tuple(self._sessions):
                session.go_away(round(notice * 1000) if session.is_watched else 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(notice):
                    await self._empty.wait()
        for session in tuple(self._sessions):
            if not session.has_left:
                session.go_away(0)
        for _ in range(2):
            if self.handler_tasks:
                await asyncio.wait(self.handler_tasks, timeout=CLOSE_SECONDS)
            self._abort()

    def hurry(self) -> None:
        """End the notice of a `close` that is under way, and soon the connections."""
        self._empty.set()
        asyncio.get_running_loop().call_later(HURRIED_SECONDS, self._abort)

    def _abort(self) -> None:
        for connection in tuple(self._connections):
            connection.transport.abort()

    async def _handle(self, connection: WatchedConnection) -> None:
        prepare_socket(connection.transport, self._config.send_timeout, SEND_BUFFER_BYTES)
        begun, address = time.monotonic(), connection.visitor.address
        logger.info("%s connected", address)
        news = asyncio.Event()
        session = self._make_session(connection.visitor, news.set)
        self._sessions.add(session)
        if self._closing:  # it came in with the last
            session.go_away(0)
        writer = asyncio.create_task(self._write(connection, session, news))
        try:
            await self._read(connection, session)
        except CloseConnection as close:
            logger.info("closing %s: %d %s", address, close.code, close.reason)
            await self._close(connection, close.code, close.reason)
        except ConnectionClosed:
            pass
        except Exception:
            await self._fail(connection)
        finally:
            self._sessions.discard(session)
            if not self._sessions and self._closing:
                self._empty.set()
            session.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._metrics.closed(connection.close_code)
            seconds = time.monotonic() - begun
            logger.info("%s left after %.1f s", address, seconds)

    async def _read(self, connection: ServerConnection, session: ServerSession) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_SECONDS) as limit:
                session.receive(await connection.recv())
                if session.grant is not None and session.grant.expires is not None:
                    left = session.grant.expires - time.time()
                    limit.reschedule(asyncio.get_running_loop().time() + left)
                else:
                    limit.reschedule(None)
                async for frame in connection:
                    session.receive(frame)
                    del frame  # or it would be kept until the next
                    await asyncio.sleep(0)  # others come between one frame and the next
        except TimeoutError:
            if session.grant is None:
                raise CloseConnection(CloseCode.HELLO_TIMEOUT, "no hello in time") from None
            raise ExpiredToken("this token has expired") from None

    async def _write(
        self, connection: WatchedConnection, session: ServerSession, news: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not session.has_left:
                if (due := session.next_due(loop.time())) is None:
                    await news.wait()
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(due):
                            await news.wait()
                news.clear()
                await self._send(connection, session.outgoing(loop.time()))
            await self._close(connection, CloseCode.GOING_AWAY, "this server stops")
        except (ViewerTooSlow, ConnectionClosed) as end:
            logger.info("%s does not read any more: %s", connection.visitor.address, end)
        except Exception:
            await self._fail(connection)

    async def _send(self, connection: WatchedConnection, frames: Iterator[bytes]) -> None:
        """Send frames as the network takes them: a function of its own, so that a connection that
        waits does not keep its last one."""
        unsent = 0
        for frame in frames:
            if (sending := connection.sending(frame)) is not None:
                await in_time(connection, sending, self._config.send_timeout)
            self._metrics.frame_sent(len(frame))
            self._on_frame_sent(frame)
            del frame
            if (unsent := unsent_on(connection.transport)) > PACKET_BYTES:
                await self._all_sent(connection)
                unsent = 0
        if unsent:
            await self._all_sent(connection)

    async def _all_sent(self, connection: WatchedConnection) -> None:
        await in_time(connection, all_sent(connection.transport), self._config.send_timeout)

    async def _fail(self, connection: ServerConnection) -> None:
        """Close after a failure of our own: the client must not be left to wait."""
        logger.exception("a connection failed")
        await self._close(connection, 1011, "internal error")

    async def _close(self, connection: ServerConnection, code: int, reason: str) -> None:
        reason = reason.encode()[:120].decode(errors="ignore")  # RFC 6455 section 5.5
        with contextlib.suppress(ViewerTooSlow):
            closing = connection.close(int(code), reason)
            await in_time(connection, closing, self._config.send_timeout)
