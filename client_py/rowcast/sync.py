"""The synchronous client: a thin shell over `session.ClientSession` and `websockets`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import tenacity
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from .artifacts import Progress
from .canvas import Picture
from .detokenizer import Detokenizer
from .errors import ConnectionFailed, ConnectionLost, ProtocolError, RowcastError
from .events import Event, PictureDone
from .painter import Painter, make_event
from .session import ClientSession, Generation, Request, RequestOptions
from .transport import (
    check_subprotocol,
    connection_errors,
    frame_bytes,
    lost,
    reconnect_policy,
    websocket_arguments,
)


logger = logging.getLogger(__name__)


def connect(
    url: str,
    *,
    token: str | None = None,
    decode: bool = True,
    cache: Path | None = None,
    allowed_hosts: Collection[str] = (),
    progress: Progress | None = None,
    threads: int = 1,
    open_timeout: float = 10.0,
    reconnect: float = 30.0,
) -> SyncClient:
    """A client for the server at ``url``; use it with ``with``. See `rowcast.connect`."""
    painter = Painter(url, cache, allowed_hosts, progress, threads) if decode else None
    return SyncClient(url, ClientSession(token), painter, open_timeout, reconnect)


class SyncClient:
    """Made by `connect`. Follow one request at a time; for more, use the asynchronous client."""

    def __init__(
        self,
        url: str,
        session: ClientSession,
        painter: Painter | None,
        open_timeout: float,
        reconnect: float,
    ) -> None:
        self.url = url
        self.session = session
        self.bytes_received = 0
        self._painter = painter
        self._open_timeout = open_timeout
        self._reconnect = reconnect
        self._socket: ClientConnection | None = None
        self._closing = contextlib.ExitStack()  # closes the socket that is open

    def __enter__(self) -> Self:
        try:
            self._socket = self._open()
            if self._painter is not None:
                self._painter.load(self.session.model())
        except BaseException:
            self._shut()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shut()

    @property
    def detokenizer(self) -> Detokenizer | None:
        """What the pictures are painted with; None with ``decode=False``."""
        return None if self._painter is None else self._painter.detokenizer

    def generate(
        self, prompt: str, images: int = 1, **options: Unpack[RequestOptions]
    ) -> Iterator[Event]:
        """Draw pictures: events as their rows arrive. See `AsyncClient.generate`."""
        generation, frames = self.session.start(Request(prompt, images, **options))
        yield from self._follow(generation, frames)

    def continue_picture(
        self, picture: Picture, row: int | None = None, *, seed: int | None = None
    ) -> Iterator[Event]:
        """Draw on from the first rows of a picture. See `AsyncClient.continue_picture`."""
        generation, frames = self.session.start(Request.continuing(picture, row, seed))
        yield from self._follow(generation, frames)

    def watch(self, view_key: bytes, images: int = 1) -> Iterator[Event]:
        """Watch pictures that somebody else started. See `AsyncClient.watch`."""
        generation, frames = self.session.watch(view_key, images)
        yield from self._follow(generation, frames)

    def pictures(
        self, prompt: str, images: int = 1, **options: Unpack[RequestOptions]
    ) -> list[PictureDone]:
        """The finished pictures: `generate` for those who do not want to watch."""
        done: dict[int, PictureDone] = {}
        for event in self.generate(prompt, images, **options):
            if isinstance(event, PictureDone):
                done[event.index] = event
        return [done[index] for index in sorted(done)]

    def _follow(self, generation: Generation, frames: list[bytes]) -> Iterator[Event]:
        try:
            self._send(frames)
            while True:
                self._receive(timeout=0)  # all that is there: the next notice is the newest state
                notice = generation.take()
                if notice is not None:
                    yield make_event(notice, self._painter)
                elif generation.ended:
                    return
                else:
                    self._receive(timeout=None)
        finally:
            cancels = self.session.cancel(generation)
            self.session.abandon(generation)
            with contextlib.suppress(RowcastError):
                self._send(cancels)

    def _receive(self, timeout: float | None) -> None:
        """Take the next frame, waiting for it as long as ``timeout``, and all that follow it."""
        try:
            while self._socket is not None:
                self._send(self._take(self._socket.recv(timeout)))
                timeout = 0
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            self._take_up(closed)
        except ProtocolError as error:
            self.session.fail(error)
            self._shut()

    def _send(self, frames: list[bytes]) -> None:
        if self._socket is None:
            raise ConnectionFailed("the client is closed")
        try:
            for frame in frames:
                self._socket.send(frame)
        except ConnectionClosed:
            pass  # the next receive sees it too, and takes every picture up again or fails it

    def _open(self) -> ClientConnection:
        """A socket that has said hello and been welcomed. Raises ConnectionFailed."""
        with connection_errors(self.url), contextlib.ExitStack() as opening:
            arguments = websocket_arguments(self._open_timeout)
            socket: ClientConnection = opening.enter_context(open_websocket(self.url, **arguments))
            check_subprotocol(self.url, socket.subprotocol)
            socket.send(self.session.hello())
            self._take(socket.recv(self._open_timeout))
            self._closing = opening.pop_all()
        return socket

    def _take_up(self, closed: ConnectionClosed) -> None:
        """Reconnect with jitter and resume; fail the pictures if that did not succeed."""
        failure, worth_it = lost(closed)
        if worth_it and self._reconnect > 0 and self.session.active:
            logger.warning("%s; reconnecting for up to %g s", failure, self._reconnect)
            try:
                for attempt in tenacity.Retrying(**reconnect_policy(self._reconnect)):
                    with attempt:
                        self._socket = self._open()
                self._send(self.session.resume())
                return
            except (ConnectionFailed, ProtocolError) as error:
                failure = ConnectionLost(f"{failure}; reconnecting failed: {error}")
        self.session.fail(failure)

    def _take(self, frame: bytes | str) -> list[bytes]:
        self.bytes_received += frame_bytes(len(frame))
        return self.session.receive(frame)

    def _shut(self) -> None:
        self._socket = None
        self._closing.close()
