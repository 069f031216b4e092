"""The synchronous client: a thin shell over `session.ClientSession` and `websockets`."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import tenacity
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from .errors import ConnectionFailed, ConnectionLost, ProtocolError, RowcastError
from .events import Event, PictureDone, finished
from .files import PRECISIONS
from .generation import Generation
from .messages import CloseCode
from .picture import Picture
from .pixels.artifacts import Progress
from .pixels.easel import Easel
from .pixels.loader import TierLoader
from .pixels.tiers import Decoder
from .requests import Request, RequestOptions
from .session import ClientSession
from .transport import (
    Patience,
    check_subprotocol,
    connection_errors,
    first_wait,
    frame_bytes,
    given_up,
    lost,
    websocket_arguments,
)

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 256  # a peer that never stops sending must not keep the caller from its events
# How often it is looked, beside the socket, whether a decode has ended or a file has come.
DECODING_POLL_SECONDS = 0.005
LOADING_POLL_SECONDS = 0.05


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
    quality: str = "full",
    providers: Sequence[str] = ("cpu",),
) -> SyncClient:
    """A client for the server at ``url``; use it with ``with``. See `rowcast.connect`."""
    loader = None
    if decode:
        loader = TierLoader(url, cache, allowed_hosts, progress, threads, quality, providers)
    session = ClientSession(token, precisions=loader.precisions if loader else PRECISIONS)
    return SyncClient(url, session, loader, open_timeout, reconnect)


class SyncClient:
    """The synchronous client that `connect` makes; its attributes are those of `AsyncClient`.

    Follow one request at a time; for more, use the asynchronous client.
    """

    def __init__(
        self,
        url: str,
        session: ClientSession,
        loader: TierLoader | None,
        open_timeout: float,
        reconnect: float,
    ) -> None:
        self.url = url
        self.session = session
        self.bytes_received = 0
        self._loader = loader
        self._open_timeout = open_timeout
        self._patience = Patience(reconnect)
        self._socket: ClientConnection | None = None
        self._is_lost = False
        self._closing = contextlib.ExitStack()  # closes the socket that is open
        self._decoders = ThreadPoolExecutor(1, "rowcast-decode")  # one decode in flight

    def __enter__(self) -> Self:
        try:
            self._socket = self._open()
            if self._loader is not None:
                self._loader.load(self.session.model())
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
    def detokenizer(self) -> Decoder | None:
        """The decoder of finished pictures. None until its file is loaded (at the latest with the
        first `PictureDone`), and with ``decode=False``."""
        return None if self._loader is None else self._loader.detokenizer

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers that are loaded by now, the best last: ``full fp32 on cpu``."""
        return () if self._loader is None else self._loader.descriptions

    def generate(
        self,
        prompt: str,
        images: int = 1,
        *,
        seamless: bool = False,
        **options: Unpack[RequestOptions],
    ) -> Generator[Event]:
        """Draw pictures: events as their rows arrive. See `AsyncClient.generate`."""
        return self._follow(
            lambda: self.session.start(Request(prompt, images, **options)), seamless
        )

    def continue_picture(
        self, picture: Picture, row: int | None = None, *, seed: int | None = None
    ) -> Generator[Event]:
        """Draw on from the first rows of a picture. See `AsyncClient.continue_picture`."""
        return self._follow(lambda: self.session.start(Request.continuing(picture, row, seed)))

    def watch(
        self, view_key: bytes, images: int = 1, *, seamless: bool = False
    ) -> Generator[Event]:
        """Watch pictures that somebody else started. See `AsyncClient.watch`."""
        return self._follow(lambda: self.session.watch(view_key, images), seamless)

    def pictures(
        self,
        prompt: str,
        images: int = 1,
        *,
        seamless: bool = False,
        **options: Unpack[RequestOptions],
    ) -> list[PictureDone]:
        """The finished pictures, in order of their index, without the events before.

        Where ``seamless``, the ``image`` of each is the finished mosaic.
        """
        events = self.generate(prompt, images, seamless=seamless, **options)
        return finished(event for event in events if isinstance(event, PictureDone))

    def _follow(
        self, begin: Callable[[], tuple[Generation, list[bytes]]], seamless: bool = False
    ) -> Generator[Event]:
        generation, frames = begin()
        woken = threading.Event()
        easel = Easel(generation, self._loader, seamless, woken.set)
        try:
            if self._is_lost:
                # While nothing was forming, or given up: recovering sends the frames too.
                self._recover(ConnectionLost("the connection was lost"), may_retry=True)
            else:
                self._send(frames)
            while True:
                self._receive(timeout=0)  # all that is there: the next notice is the newest state
                event = easel.next_event()
                decode = easel.next_decode()
                if decode is not None:
                    self._decoders.submit(decode)
                if event is not None:
                    yield event
                elif easel.ended:
                    return
                else:
                    self._wait(easel, generation, woken)
        finally:
            easel.close()
            cancels = self.session.cancel(generation)
            generation.abandon()
            with contextlib.suppress(RowcastError):
                self._send(cancels)

    def _wait(self, easel: Easel, generation: Generation, woken: threading.Event) -> None:
        """Wait until there may be something new: a frame, the end of a decode, a file."""
        if generation.ended:  # no frame will come
            woken.wait(LOADING_POLL_SECONDS)
            woken.clear()
        elif easel.is_busy:
            pause = DECODING_POLL_SECONDS if easel.is_decoding else LOADING_POLL_SECONDS
            self._receive(pause)
        else:
            self._receive(timeout=None)

    def _receive(self, timeout: float | None) -> None:
        """Take the next frame, waiting for it as long as ``timeout``, and all that follow it."""
        if self._socket is None:
            return  # closed: every picture has failed
        try:
            for _ in range(FRAMES_AT_ONCE):
                self._send(self._take(self._socket.recv(timeout)))
                timeout = 0
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            failure, may_retry = lost(closed)
            self._recover(failure, may_retry)
        except ProtocolError as error:
            self._socket.close(CloseCode.MALFORMED)
            self._recover(error, may_retry=False)

    def _send(self, frames: list[bytes]) -> None:
        if self._socket is None:
            raise ConnectionFailed("the client is closed")
        try:
            for frame in frames:
                self._socket.send(frame)
        except ConnectionClosed:
            pass  # the next receive sees it too, and takes every picture up again or fails it

    def _open(self) -> ClientConnection:
        """An open socket, after `hello` and `welcome`. Raises ConnectionFailed, ProtocolError."""
        with connection_errors(self.url), contextlib.ExitStack() as opening:
            arguments = websocket_arguments(self._open_timeout)
            socket: ClientConnection = opening.enter_context(open_websocket(self.url, **arguments))
            check_subprotocol(self.url, socket.subprotocol)
            socket.send(self.session.hello())
            self._take(socket.recv(self._open_timeout))
            self._closing = opening.pop_all()
        return socket

    def _recover(self, failure: RowcastError, may_retry: bool) -> None:
        """Reconnect with jitter and resume what is forming, or else fail it."""
        retries = None
        if may_retry and self.session.active:
            retries = self._patience.retries(self.session.progress)
        if retries is not None:
            logger.warning("%s; reconnecting for up to %g s", failure, self._patience.seconds)
            try:
                time.sleep(first_wait())
                for attempt in tenacity.Retrying(**retries):
                    with attempt:
                        self._socket = self._open()
                self._send(self.session.resume())
                self._is_lost = False
                return
            except (ConnectionFailed, ProtocolError) as error:
                failure = given_up(failure, error)
        self._is_lost = True
        self.session.fail(failure)

    def _take(self, frame: bytes | str) -> list[bytes]:
        self.bytes_received += frame_bytes(len(frame))
        return self.session.receive(frame)

    def _shut(self) -> None:
        if self._loader is not None:
            self._loader.stop()  # first: who waits for pixels is not to wait any longer
        cancels = self.session.close()
        with contextlib.suppress(RowcastError):
            self._send(cancels)
        self._socket = None
        self._closing.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._loader is not None:
            self._loader.close()
