"""Both clients as far as they neither wait nor block: arguments, requests, what they hold.

The shells (aio.py, sync.py) move frames between `session.ClientSession` and `websockets`.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, Unpack
from urllib.parse import urlsplit

from .errors import ConnectionFailed, ProtocolError, RowcastError
from .generation import Generation
from .picture import PRECISIONS, Picture, check_picture
from .pixels.download import Progress
from .pixels.loader import TierLoader
from .pixels.network import Proxy, certificates, check_proxy, proxy_of, redacted
from .pixels.tiers import Decoder
from .requests import (
    Request,
    RequestOptions,
    Token,
    check_flag,
    check_seconds,
    check_whole,
    encode_text,
)
from .session import ClientSession
from .transport import Patience, check_url, frame_bytes, websocket_arguments

logger = logging.getLogger(__name__)

MOST_THREADS: Final = 1_024  # of a decode; 0 means all cores

Events = TypeVar("Events")  # an asynchronous generator of `Event`s, or a generator


class Client(ABC, Generic[Events]):
    """A client; ``Events`` are iterated with ``async for`` or with ``for``.

    ``url`` is the server's, ``bytes_received`` counts frames with their headers, ``session`` knows
    the server's models and limits.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        decode: bool = True,
        cache: Path | str | None = None,
        allowed_hosts: Collection[str] = (),
        progress: Progress | None = None,
        threads: int = 1,
        open_timeout: float = 10.0,
        reconnect: float = 30.0,
        wait_when_busy: float | None = None,
        proxy: Proxy = None,
        quality: str = "full",
        providers: Sequence[str] = ("cpu",),
    ) -> None:
        """A client for the server at ``url`` (``ws://host:port``); it opens where it is entered.

        ``decode=False`` leaves pixels out: events carry ids alone and no detokenizer is fetched.
        ``cache`` is where detokenizer files are kept; ``allowed_hosts`` are hosts beside the
        server's own that they may come from; ``progress`` is called, from any thread, with the
        bytes received and announced of the file that is being fetched.

        ``token`` is what the server asks for, or a function that gives a fresh one for each
        connection.

        A broken link is taken up again for ``reconnect`` seconds. A server that is too busy for a
        request is asked again, when it says so, for up to ``wait_when_busy`` seconds (None: as long
        as ``reconnect``; 0: its refusal is told at once). ``proxy`` None goes directly whatever the
        environment says; True by the proxies that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY
        name; an address (http, https, socks5, socks5h) by that one, for socket and files alike.

        ``quality`` is the best that pictures are painted with: ``palette`` fetches a small table
        and nothing else, ``preview`` a small decoder too where the server has one, ``full`` the
        detokenizer as well. What is there paints at once; the rest is fetched in the background.
        ``threads`` bounds a decode; ``providers`` (cpu, cuda, coreml, directml) are where it may
        run, the best first, and decide the precision that is fetched: `tiers` says which it is.

        Raises InvalidRequest; on entering ConnectionFailed, DetokenizerError, ProtocolError.
        """
        encode_text("url", url)
        check_url(url, redacted(url))
        check_proxy(proxy)
        threads = check_whole("threads", threads, 0, MOST_THREADS)
        open_timeout = check_seconds("open_timeout", open_timeout)
        reconnect = check_seconds("reconnect", reconnect)
        self._loader = None
        if check_flag("decode", decode):
            self._loader = TierLoader(
                url, cache, allowed_hosts, progress, threads, quality, providers, proxy, token
            )
        self.url = url
        self.session = ClientSession(
            token,
            self._loader.precisions if self._loader else PRECISIONS,
            reconnect=reconnect,
            wait_when_busy=reconnect
            if wait_when_busy is None
            else check_seconds("wait_when_busy", wait_when_busy),
        )
        self._proxy = proxy
        self._state = "new"  # then open, then closed
        self.bytes_received = 0
        self._open_timeout = None if math.isinf(open_timeout) else open_timeout
        self._patience = Patience(reconnect, renews_token=callable(token))
        self._decoders = ThreadPoolExecutor(1, "rowcast-decode")  # one decode in flight

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
    ) -> Events:
        """Draw pictures: events as their rows arrive, until each has ended.

        The options are those of `RequestOptions`; None leaves a choice to the server, also the
        seed, which every event tells. Leaving the loop cancels what has not ended.

        With ``seamless`` the ``image`` of every event is all the pictures so far, joined as one:
        a `Mosaic`, 4 as 2 rows of 2, 6 as 2 rows of 3, a prime number as one row.

        Raises InvalidRequest, RequestRefused, ConnectionLost, ProtocolError; the last three carry
        what was received in ``pictures``.
        """
        return self._follow(
            lambda: self.session.start(Request(prompt, images, **options)),
            check_flag("seamless", seamless),
        )

    def continue_picture(
        self,
        picture: Picture,
        row: int | None = None,
        *,
        seed: int | None = None,
        stop_row: int | None = None,
    ) -> Events:
        """Draw on from the first ``row`` rows of a picture (all it holds if None), until it has
        ``stop_row`` of them (all of the grid if None).

        With the picture's own seed (None) the same picture is finished; another seed forks it.
        Raises as `generate`; RequestRefused where the server draws with another revision.
        """
        check_picture(picture)
        return self._follow(
            lambda: self.session.start(Request.continuing(picture, row, seed, stop_row))
        )

    def watch(
        self,
        view_key: bytes,
        images: int = 1,
        *,
        first_image: int = 0,
        seamless: bool = False,
    ) -> Events:
        """Watch pictures that somebody else started, by their view key, from their first row.

        ``seamless`` joins them, as in `generate`. A `ShareLink` has all that is asked for here.
        """
        return self._follow(
            lambda: self.session.watch(view_key, images, first_image),
            check_flag("seamless", seamless),
        )

    @abstractmethod
    def _follow(
        self, begin: Callable[[], tuple[Generation, list[bytes]]], seamless: bool = False
    ) -> Events:
        """The events of what ``begin`` asks the session for, once iteration starts."""

    @property
    def _shown_url(self) -> str:
        """The server's address, and the proxy's that was named, without secrets, for messages."""
        by = f" by the proxy {redacted(self._proxy)}" if isinstance(self._proxy, str) else ""
        return redacted(self.url) + by

    def _enter(self) -> None:
        """Begin to open. Raises ConnectionFailed unless it is the first time."""
        if self._state != "new":
            raise ConnectionFailed(
                f"the client is {self._state} already: it is entered once; make another"
            )
        self._state = "open"

    def _websocket_arguments(self) -> dict[str, Any]:
        """Arguments to open the WebSocket with. Raises ConnectionFailed, ValueError."""
        proxy = proxy_of(self.url, self.url, self._proxy)
        is_secure = urlsplit(self.url).scheme == "wss"
        return websocket_arguments(self._open_timeout, proxy, certificates() if is_secure else None)

    def _take(self, frame: bytes | str) -> list[bytes]:
        """Take a frame that came; returns frames to send. Raises ProtocolError."""
        self.bytes_received += frame_bytes(len(frame))
        try:
            return self.session.receive(frame)
        except ProtocolError as error:
            if error.close_code != 1000:  # else the server has said what is wrong
                shown, error.fault = self._shown_url, str(error)
                error.args = (f"the server {shown} broke the protocol: {error}",)
            raise

    def _retries(self, failure: RowcastError, may_retry: bool) -> dict[str, Any] | None:
        """tenacity's arguments to take up a link lost by ``failure``; None where it stays lost."""
        if not may_retry or not self.session.active or not self._patience.covers(failure):
            return None
        retries = self._patience.retries(self.session.progress)
        if retries is not None:
            logger.warning("%s; reconnecting for up to %g s", failure, self._patience.seconds)
        return retries

    def _stop(self) -> list[bytes]:
        """Begin to shut down; returns frames that cancel what is forming."""
        self._state = "closed"
        if self._loader is not None:
            self._loader.stop()  # first: who waits for pixels is not to wait any longer
        self._decoders.shutdown(wait=False, cancel_futures=True)
        return self.session.close()
