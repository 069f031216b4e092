"""The asynchronous client: a thin shell over `session.ClientSession` and `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Self, Unpack

import tenacity
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from .client import Client
from .errors import ConnectionFailed, ConnectionLost, ProtocolError, RowcastError
from .events import Event, PictureDone, finished
from .generation import Generation
from .pixels.easel import Easel
from .requests import RequestOptions
from .transport import (
    ReadsInPieces,
    check_peer,
    closing,
    connection_errors,
    given_up,
    lost,
)


class _Connection(ReadsInPieces, ClientConnection):
    """A connection whose server can send as much as it likes, and delay nobody here."""


class AsyncClient(Client[AsyncGenerator[Event]]):
    """The asynchronous client, as `rowcast.connect`; use it with ``async with``.

    Several requests may be followed at once.
    """

    _socket: ClientConnection | None = None
    _reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._enter()
        try:
            self._socket = await self._open()
            if self._loader is not None:
                await asyncio.to_thread(self._loader.load, self.session.model())
        except BaseException:
            await self._shut()
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._shut()

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
            raise ConnectionFailed("the client is closed; make another")
        try:
            for frame in frames:
                await self._socket.send(frame)
        except ConnectionClosed:
            pass  # the reader sees it too, and takes every picture up again or fails it

    async def _open(self) -> ClientConnection:
        """An open socket, after `hello` and `welcome`. Raises ConnectionFailed, ProtocolError."""
        with connection_errors(self._shown_url):
            arguments = await asyncio.to_thread(self._websocket_arguments)  # reads certificates
            socket = await open_websocket(self.url, create_connection=_Connection, **arguments)
            try:
                check_peer(self._shown_url, self.url, socket)
                async with asyncio.timeout(self._open_timeout):
                    await socket.send(self.session.hello())
                    self._take(await socket.recv())
            except BaseException as error:
                await socket.close(*closing(error))
                raise
        return socket

    async def _read(self) -> None:
        """Take frames until the link is lost for good."""
        while True:
            assert self._socket is not None
            try:
                while True:
                    await self._send(await self._next(self._socket))
            except ConnectionClosed as closed:
                failure, may_retry = lost(closed)
            except ProtocolError as error:
                failure, may_retry = error, False
                await self._socket.close(*closing(error))
            if not await self._recover(failure, may_retry):
                return

    async def _next(self, socket: ClientConnection) -> list[bytes]:
        """Take the next frame; returns frames to send: answers, or what was put off until now."""
        try:
            async with asyncio.timeout(self.session.retry_in):
                frame = await socket.recv()
        except TimeoutError:
            return self.session.retry()
        return self._take(frame)

    async def _read_anew(self) -> None:
        if await self._recover(ConnectionLost("the connection was lost"), may_retry=True):
            await self._read()

    async def _recover(self, failure: RowcastError, may_retry: bool) -> bool:
        """Reconnect with jitter and resume what is forming, or else fail it; True if resumed."""
        retries = self._retries(failure, may_retry)
        if retries is not None:
            try:
                await asyncio.sleep(self._patience.wait())
                self._socket = await tenacity.AsyncRetrying(**retries)(self._open)
                await self._send(self.session.resume())
                return True
            except (ConnectionFailed, ProtocolError) as error:
                failure = given_up(failure, error)
        self.session.fail(failure)
        return False

    async def _shut(self) -> None:
        cancels = self._stop()
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
        if self._loader is not None:
            await asyncio.to_thread(self._loader.close)


connect = AsyncClient
"""The asynchronous client of a server; its arguments are those of `AsyncClient`."""
