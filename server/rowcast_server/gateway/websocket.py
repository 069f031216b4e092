"""The WebSocket side of a server: the only module that imports `websockets` for serving."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from rowcast.messages import HELLO_TIMEOUT_SECONDS, SUBPROTOCOL, CloseCode
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import MultipleValuesError
from websockets.exceptions import ConnectionClosed

from ..config import ServerConfig
from ..errors import CloseConnection, ViewerTooSlow
from ..session import ServerSession
from .watchdog import WatchedConnection, in_time, prepare_socket

logger = logging.getLogger(__name__)

# Larger than any limit we announce, so that a too large frame is met by our own close code; a
# frame beyond even this is closed by `websockets` with 1009 before it is buffered.
MAX_TRANSPORT_FRAME_BYTES = 1_114_112
WRITE_LIMIT_BYTES = 16_384
CLOSE_SECONDS = 2.0  # that a client has to answer our close


def _transport_log() -> logging.Logger:
    """The log of `websockets`: at DEBUG it would show tokens, above it what peers did wrong."""
    log = logging.getLogger(f"{__name__}.websockets")
    log.setLevel(logging.CRITICAL)
    return log


# Given the host name by which the client came, and what to call when frames wait to be sent.
SessionFactory = Callable[[str | None, Callable[[], None]], ServerSession]
# Called with each frame once its bytes are with the operating system, or in a buffer before it.
FrameHook = Callable[[bytes], None]


class Gateway:
    """Accepts connections and moves frames between sockets and sessions."""

    def __init__(
        self,
        config: ServerConfig,
        make_session: SessionFactory,
        on_frame_sent: FrameHook = lambda frame: None,
    ) -> None:
        self._config = config
        self._make_session = make_session
        self._on_frame_sent = on_frame_sent
        self._sessions: set[ServerSession] = set()
        self._empty = asyncio.Event()  # no session is left, or it is not to be waited for
        self._closing = False
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on. Raises RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the gateway has not been started")
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def watched(self) -> bool:
        """True if a stream is open on any connection."""
        return any(session.is_watched for session in self._sessions)

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        self._server = await serve(
            self._handle,
            self._config.host,
            self._config.port,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            max_size=MAX_TRANSPORT_FRAME_BYTES,
            write_limit=WRITE_LIMIT_BYTES,
            ping_interval=self._config.ping_interval,
            ping_timeout=self._config.ping_interval,
            close_timeout=CLOSE_SECONDS,
            server_header=None,
            create_connection=WatchedConnection,
            logger=_transport_log(),
        )

    async def close(self, notice: float = 0.0) -> None:
        """Take no more connections, say goaway, close every connection (1001).

        Those on which a stream is open have ``notice`` seconds, or until their last stream has
        ended; `hurry` ends that.
        """
        if self._server is None:
            return
        self._closing = True
        self._server.close(close_connections=False)
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    return await self._server.wait_closed()
            for connection in self._server.connections:
                connection.transport.abort()

    def hurry(self) -> None:
        """End the notice of a `close` that is under way."""
        self._empty.set()

    async def _handle(self, connection: ServerConnection) -> None:
        prepare_socket(connection, self._config.send_timeout)
        begun = time.monotonic()
        logger.info("%s connected", _named(connection))
        news = asyncio.Event()
        session = self._make_session(_host(connection), news.set)
        self._sessions.add(session)
        if self._closing:  # it came in with the last
            session.go_away(0)
        writer = asyncio.create_task(self._write(connection, session, news))
        try:
            await self._read(connection, session)
        except CloseConnection as close:
            logger.info("closing %s: %d %s", _named(connection), close.code, close.reason)
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
            seconds = time.monotonic() - begun
            logger.info("%s left after %.1f s", _named(connection), seconds)

    async def _read(self, connection: ServerConnection, session: ServerSession) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_SECONDS):
                session.receive(await connection.recv())
        except TimeoutError:
            raise CloseConnection(CloseCode.HELLO_TIMEOUT, "no hello in time") from None
        async for frame in connection:
            session.receive(frame)

    async def _write(
        self, connection: ServerConnection, session: ServerSession, news: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not session.has_left:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(session.next_due(loop.time())):
                        await news.wait()
                news.clear()
                for frame in session.outgoing(loop.time()):
                    await in_time(connection, connection.send(frame), self._config.send_timeout)
                    self._on_frame_sent(frame)
            await self._close(connection, CloseCode.GOING_AWAY, "this server stops")
        except (ViewerTooSlow, ConnectionClosed) as end:
            logger.info("%s does not read any more: %s", _named(connection), end)
        except Exception:
            await self._fail(connection)

    async def _fail(self, connection: ServerConnection) -> None:
        """Close after a failure of our own: the client must not be left to wait."""
        logger.exception("a connection failed")
        await self._close(connection, 1011, "internal error")

    async def _close(self, connection: ServerConnection, code: int, reason: str) -> None:
        reason = reason.encode()[:120].decode(errors="ignore")  # RFC 6455 section 5.5
        with contextlib.suppress(ViewerTooSlow):
            closing = connection.close(int(code), reason)
            await in_time(connection, closing, self._config.send_timeout)


def _named(connection: ServerConnection) -> str:
    """The address of a connection's other end, for the log."""
    address = connection.remote_address  # (host, port), and two numbers more with IPv6
    return f"{address[0]} port {address[1]}" if address else "a client"


def _host(connection: ServerConnection) -> str | None:
    """The host of the request's Host header (RFC 9112 section 3.2), without its port."""
    request = connection.request
    try:
        return urlsplit(f"//{request.headers['Host']}").hostname if request is not None else None
    except (KeyError, ValueError, MultipleValuesError):
        return None
