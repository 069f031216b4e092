"""The asynchronous client: a thin shell over `session.ClientSession` and `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import tenacity
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

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
) -> AsyncClient:
    """A client for the server at ``url`` (``ws://host:port``); use it with ``async with``.

    ``decode=False`` leaves pixels out: events carry ids alone and no detokenizer is fetched.
    ``cache`` is where detokenizer files are kept; ``allowed_hosts`` are hosts beside the server's
    own that they may come from; ``progress`` is called, from any thread, with the bytes received
    and announced of the file that is being fetched. A broken link is taken up again for
    ``reconnect`` seconds.

    ``quality`` is the best that pictures are painted with: ``palette`` fetches a small table and
    nothing else, ``preview`` a small decoder too where the server has one, ``full`` the detokenizer
    as well. What is there paints at once; the rest is fetched in the background. ``threads`` bounds
    a decode; ``providers`` (cpu, cuda, coreml, directml) are where it may run, the best first, and
    decide the precision that is fetched: `AsyncClient.tiers` says which it is.

    Raises InvalidRequest; on entering ConnectionFailed, DetokenizerError, ProtocolError.
    """
    loader = None
    if decode:
        loader = TierLoader(url, cache, allowed_hosts, progress, threads, quality, providers)
    session = ClientSession(token, precisions=loader.precisions if loader else PRECISIONS)
    return AsyncClient(url, session, loader, open_timeout, reconnect)


class AsyncClient:
    """The asynchronous client that `connect` makes; several requests may be followed at once.

    ``url`` is the server's, ``bytes_received`` counts frames with their headers, ``session`` knows
    the server's models and limits.
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
        self._reader: asyncio.Task[None] | None = None
        self._decoders = ThreadPoolExecutor(1, "rowcast-decode")  # one decode in flight

    async def __aenter__(self) -> Self:
        try:
            self._socket = await self._open()
            if self._loader is not None:
                await asyncio.to_thread(self._loader.load, self.session.model())
        except BaseException:
            await self._shut()
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._shut()

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
    ) -> AsyncGenerator[Event]:
        """Draw pictures: events as their rows arrive, until each has ended.

        The options are those of `RequestOptions`; None leaves a choice to the server, also the
        seed, which every event tells. Leaving the loop cancels what has not ended.

        With ``seamless`` the ``image`` of every event is all the pictures so far, joined as one:
        a `Mosaic`, 4 as 2 rows of 2, 6 as 2 rows of 3, a prime number as one row.

        Raises InvalidRequest, RequestRefused, ConnectionLost, ProtocolError; the last three carry
        what was received in ``pictures``.
        """
        return self._follow(
            lambda: self.session.start(Request(prompt, images, **options)), seamless
        )

    def continue_picture(
        self, picture: Picture, row: int | None = None, *, seed: int | None = None
    ) -> AsyncGenerator[Event]:
        """Draw on from the first ``row`` rows of a picture (all it holds if None).

        With the picture's own seed (None) the same picture is finished; another seed forks it.
        Raises as `generate`; RequestRefused where the server draws with another revision.
        """
        return self._follow(lambda: self.session.start(Request.continuing(picture, row, seed)))

    def watch(
        self, view_key: bytes, images: int = 1, *, seamless: bool = False
    ) -> AsyncGenerator[Event]:
        """Watch pictures that somebody else started, by their view key, from their first row.

        ``seamless`` joins them, as in `generate`.
        """
        return self._follow(lambda: self.session.watch(view_key, images), seamless)

    async def pictures(
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
        return finished([event async for event in events if isinstance(event, PictureDone)])

    async def _follow(
        self, begin: Callable[[], tuple[Generation, list[bytes]]], seamless: bool = False
    ) -> AsyncGenerator[Event]:
        generation, frames = begin()
        news = asyncio.Event()
        generation.wake = news.set
        loop = asyncio.get_running_loop()

        def wake() -> None:  # from any thread
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

        easel = Easel(generation, self._loader, seamless, wake)
        try:
            if self._reader is not None and self._reader.done():
                # Lost while nothing was forming, or given up: recovering sends the frames too.
                self._reader = asyncio.create_task(self._read_anew())
            else:
                await self._send(frames)
            while True:
                event = easel.next_event()
                decode = easel.next_decode()
                if decode is not None:
                    # Meanwhile the reader goes on: the next decode is of the newest state.
                    loop.run_in_executor(self._decoders, decode)
                if event is not None:
                    yield event
                elif easel.ended:
                    return
                else:
                    await news.wait()
                    news.clear()
        finally:
            easel.close()
            cancels = self.session.cancel(generation)
            generation.abandon()
            with contextlib.suppress(RowcastError):
                await self._send(cancels)

    async def _send(self, frames: list[bytes]) -> None:
        if self._socket is None:
            raise ConnectionFailed("the client is closed")
        try:
            for frame in frames:
                await self._socket.send(frame)
        except ConnectionClosed:
            pass  # the reader sees it too, and takes every picture up again or fails it

    async def _open(self) -> ClientConnection:
        """An open socket, after `hello` and `welcome`. Raises ConnectionFailed, ProtocolError."""
        with connection_errors(self.url):
            socket = await open_websocket(self.url, **websocket_arguments(self._open_timeout))
            try:
                check_subprotocol(self.url, socket.subprotocol)
                async with asyncio.timeout(self._open_timeout):
                    await socket.send(self.session.hello())
                    self._take(await socket.recv())
            except BaseException:
                await socket.close()
                raise
        return socket

    async def _read(self) -> None:
        """Take frames until the link is lost for good."""
        while True:
            assert self._socket is not None
            try:
                while True:
                    await self._send(self._take(await self._socket.recv()))
            except ConnectionClosed as closed:
                failure, may_retry = lost(closed)
            except ProtocolError as error:
                failure, may_retry = error, False
                await self._socket.close(CloseCode.MALFORMED)
            if not await self._recover(failure, may_retry):
                return

    async def _read_anew(self) -> None:
        if await self._recover(ConnectionLost("the connection was lost"), may_retry=True):
            await self._read()

    async def _recover(self, failure: RowcastError, may_retry: bool) -> bool:
        """Reconnect with jitter and resume what is forming, or else fail it; True if resumed."""
        retries = None
        if may_retry and self.session.active:
            retries = self._patience.retries(self.session.progress)
        if retries is not None:
            logger.warning("%s; reconnecting for up to %g s", failure, self._patience.seconds)
            try:
                await asyncio.sleep(first_wait())
                async for attempt in tenacity.AsyncRetrying(**retries):
                    with attempt:
                        self._socket = await self._open()
                await self._send(self.session.resume())
                return True
            except (ConnectionFailed, ProtocolError) as error:
                failure = given_up(failure, error)
        self.session.fail(failure)
        return False

    def _take(self, frame: bytes | str) -> list[bytes]:
        self.bytes_received += frame_bytes(len(frame))
        return self.session.receive(frame)

    async def _shut(self) -> None:
        if self._loader is not None:
            self._loader.stop()  # first: who waits for pixels is not to wait any longer
        cancels = self.session.close()
        with contextlib.suppress(RowcastError):
            await self._send(cancels)
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._loader is not None:
            await asyncio.to_thread(self._loader.close)
