"""The gateway: one port or two, and both sides behind them, opened and closed in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..clients import Clients
from ..config import ServerConfig
from ..metrics import Metrics
from .compressed import CompressedFiles
from .files import DetokenizerFiles
from .listener import Listener
from .page import Page
from .picture_states import PictureStates
from .sending import FileSender
from .sockets import Sockets
from .tls import Certificates
from .visitors import Doorman
from .web import HttpSide, Rules, make_app
from .websocket import FrameHook, SessionFactory, WebSocketSide


class Gateway:
    """All that is between the network and sessions, files and the book of pictures.

    ``files`` are detokenizer files by SHA-256, ``pictures`` tells how they are, ``page`` the folder
    of the page, if there is one. Raises RowcastError where certificates do not serve.
    """

    def __init__(
        self,
        config: ServerConfig,
        clients: Clients,
        make_session: SessionFactory,
        files: Mapping[bytes, Path],
        pictures: PictureStates,
        page: Path | None = None,
        metrics: Metrics | None = None,
        on_frame_sent: FrameHook = lambda frame: None,
    ) -> None:
        metrics = metrics or Metrics()
        self._ready = False
        certificates = None
        if config.tls_cert is not None:
            certificates = Certificates(config.tls_cert, config.tls_key)
        doorman = Doorman(config, clients)
        compressed, sender = CompressedFiles().of, FileSender(config.send_timeout)
        self._websocket = WebSocketSide(config, make_session, metrics, on_frame_sent)
        self._http = HttpSide(
            make_app(
                DetokenizerFiles(files, compressed, sender),
                pictures,
                Page(page, compressed, sender),
                lambda: self._ready,
                Rules(config, doorman, clients),
            ),
            config.send_timeout,
        )
        self._listener = Listener(
            config, doorman, self._websocket, self._http, certificates, metrics
        )

    @property
    def watched(self) -> bool:
        """True if a stream is open on any connection."""
        return self._websocket.watched

    @property
    def load(self) -> dict[str, float]:
        """How many connections there are, by kind."""
        return self._listener.load

    async def start(self, sockets: Sockets) -> None:
        """Take connections from these bound sockets."""
        await self._http.start()
        apart = bool(sockets.http)
        await self._listener.listen(sockets.main, websocket=True, http=not apart)
        await self._listener.listen(sockets.http, websocket=False, http=True)
        self._ready = True

    async def close(self, notice: float = 0.0) -> None:
        """Take no more connections; say goaway, and close every connection. Streams that are open
        have ``notice`` seconds to end."""
        self._ready = False
        self._listener.close()
        await self._websocket.close(notice)
        await self._http.close()

    def hurry(self) -> None:
        """End the notice of a `close` that is under way, and soon what it still waits for."""
        self._websocket.hurry()
        self._http.hurry()
