"""The synchronous client: a thin shell over `session.ClientSession` and `websockets`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from typing import Self, Unpack

import tenacity
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from .client import Client
from .errors import ConnectionFailed, ConnectionLost, ProtocolError, RowcastError
from .events import Event, PictureDone, finished
from .generation import Generation
from .pixels.easel import Easel
from .requests import RequestOptions
from .transport import (
    check_peer,
    closing,
    connection_errors,
    given_up,
    lost,
)

FRAMES_AT_ONCE = 256  # a peer that never stops sending must not keep the caller from its events
# How often it is looked, beside the socket, whether a decode has ended or a file has come.
DECODING_POLL_SECONDS = 0.005
LOADING_POLL_SECONDS = 0.05


class SyncClient(Client[Generator[Event]]):
    """The synchronous client, as `rowcast.connect_sync`; use it with ``with``.

    Follow one request at a time; for more, use the asynchronous client.
    """

    _socket: ClientConnection | None = None
    _is_lost = False
    _user: threading.Thread | None = None  # who is in the midst of it, or was interrupted there

    def __enter__(self) -> Self:
        self._enter()
        try:
            self._socket = self._open()
            if self._loader is not None:
                self._loader.load(self.session.model())
        except BaseException:
            self._shut()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._shut()

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
        events = self._events(begin, seamless)
        try:
            while True:
                self._begin_use()
                try:
                    event = next(events, None)
                except RowcastError:
                    self._user = None
                    raise
                self._user = None
                if event is None:
                    return
                yield event
        finally:
            user, self._user = self._user, threading.current_thread()
            events.close()
            self._user = user

    def _begin_use(self) -> None:
        """Raise ConnectionFailed while another thread uses the client.

        What was interrupted, by a signal say, may have lost a frame, or left the session half way:
        then the link is given up, and the next request takes another.
        """
        if self._user not in (None, threading.current_thread()) and self._user.is_alive():
            raise ConnectionFailed("the client is in use by another thread; make another")
        if self._user is not None:
            self.session.fail(ConnectionLost("the client was interrupted"))
            if self._socket is not None:
                self._is_lost = True
                self._socket.close()
        self._user = threading.current_thread()

    def _events(
        self, begin: Callable[[], tuple[Generation, list[bytes]]], seamless: bool
    ) -> Generator[Event]:
        self._receive(timeout=0)  # what came while nobody looked: a `goaway`, the end of the link
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
        due = self.session.retry_in
        if due is not None:
            timeout = due if timeout is None else min(timeout, due)
        try:
            for _ in range(FRAMES_AT_ONCE):
                self._send(self._take(self._socket.recv(timeout)))
                timeout = 0
        except TimeoutError:
            self._send(self.session.retry())
        except ConnectionClosed as closed:
            failure, may_retry = lost(closed)
            self._recover(failure, may_retry)
        except ProtocolError as error:
            self._socket.close(*closing(error))
            self._recover(error, may_retry=False)

    def _send(self, frames: list[bytes]) -> None:
        if self._socket is None:
            raise ConnectionFailed("the client is closed; make another")
        try:
            for frame in frames:
                self._socket.send(frame)
        except ConnectionClosed:
            pass  # the next receive sees it too, and takes every picture up again or fails it

    def _open(self) -> ClientConnection:
        """An open socket, after `hello` and `welcome`. Raises ConnectionFailed, ProtocolError."""
        with connection_errors(self._shown_url), contextlib.ExitStack() as opening:
            arguments = self._websocket_arguments()
            # `websockets` wants to be entered; its 17.1 warns where it is not.
            socket: ClientConnection = opening.enter_context(open_websocket(self.url, **arguments))
            try:
                check_peer(self._shown_url, self.url, socket)
                socket.send(self.session.hello())
                self._take(socket.recv(self._open_timeout))
            except BaseException as error:
                socket.close(*closing(error))
                raise
            opening.pop_all()  # from here on `_shut` closes it
        return socket

    def _recover(self, failure: RowcastError, may_retry: bool) -> None:
        """Reconnect with jitter and resume what is forming, or else fail it."""
        retries = self._retries(failure, may_retry)
        if retries is not None:
            try:
                time.sleep(self._patience.wait())
                self._socket = tenacity.Retrying(**retries)(self._open)
                self._send(self.session.resume())
                self._is_lost = False
                return
            except (ConnectionFailed, ProtocolError) as error:
                failure = given_up(failure, error)
        self._is_lost = True
        self.session.fail(failure)

    def _shut(self) -> None:
        cancels = self._stop()
        with contextlib.suppress(RowcastError):
            self._send(cancels)
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        if self._loader is not None:
            self._loader.close()


connect = SyncClient
"""The synchronous client of a server; its arguments are those of `SyncClient`."""
