"""The whole server: engines, book of pictures, gateway and HTTP, wired together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace
from rowcast.errors import RowcastError
from rowcast.messages import (
    DetokenizerFile,
    Limits,
    Model,
    Range,
    SamplingRanges,
    Welcome,
    id_bytes_for,
)

from .access import Access, configured_access
from .admission import ServedModel
from .clients import Clients, Visitor
from .config import ServerConfig
from .gateway.files import file_name
from .gateway.gateway import Gateway
from .gateway.openai_process import OpenaiProcess
from .gateway.page import PAGE_FOLDER
from .gateway.picture_states import PictureStates
from .gateway.sockets import WILDCARDS, Sockets, bind, url_host
from .gateway.websocket import FrameHook
from .jobs import JobBook
from .metrics import Metrics
from .models.loading import LoadedModel
from .models.revision import revision_in
from .network.facts import Sampling
from .runners import RunnerFactory as RunnerFactory
from .runners import make_fleet, make_runner
from .session import ServerSession

if TYPE_CHECKING:
    from .cluster.remote import RemoteEngines
    from .gateway.prometheus import PrometheusMetrics

MOST_HOSTS = 64  # by which clients name this server, whose `welcome` is kept
FRAME_SLACK = 2_096  # a start's options beside its prompt and prefix


class RowcastServer:
    """A server of one model, with an engine for each of ``config.placements``.

    Once made, it has its engines and their memory, which takes a while for a large model; `start`
    returns once jobs are taken, and `close` ends everything. ``make_runner`` makes an engine's
    runner, and ``on_frame_sent`` is called with each frame that was sent. ``sockets`` are bound by
    `start` if they are not yet, and ``access`` is that of `access_for`. ``engines`` are a
    cluster's, which draw instead of this process.

    Raises RowcastError where a device has too little memory, or a file of tokens or certificates
    does not serve.
    """

    def __init__(
        self,
        model: LoadedModel,
        config: ServerConfig,
        make_runner: RunnerFactory = make_runner,
        on_frame_sent: FrameHook = lambda frame: None,
        sockets: Sockets | None = None,
        access: Access | None = None,
        engines: RemoteEngines | None = None,
    ) -> None:
        self.config = config
        self._announcement = announce(model, config.placements[0].variant)
        self._served = ServedModel(self._announcement, model.tokenizer)
        self._limits = _limits(config, self._announcement)
        self._clients = Clients(config, access or access_for(config, sockets), time.monotonic)
        self._sockets = sockets
        self._welcome = lru_cache(MOST_HOSTS)(
            lambda host: Welcome(self._limits, [self._with_urls(host)])
        )
        self._metrics = Metrics()
        self._openai: OpenaiProcess | None = None
        self._prometheus: PrometheusMetrics | None = None
        if config.metrics_port is not None:
            from .gateway.prometheus import PrometheusMetrics

            self._metrics = self._prometheus = PrometheusMetrics(self._load)
        self._engines = engines or make_fleet(model, config, make_runner, self._metrics)
        self._others = None if engines is None else engines.others
        self._book = JobBook(
            self._engines,
            asyncio.get_running_loop,
            grace=config.grace,
            keep=config.keep,
            deadline=config.deadline,
            client_pictures=config.client_pictures,
            metrics=self._metrics,
            elsewhere=self._others,
        )
        files = {file.sha256: file.path for file in model.files}
        self._gateway = Gateway(
            config,
            self._clients,
            self._session,
            files,
            PictureStates(self._book, self._engines),
            PAGE_FOLDER if PAGE_FOLDER.is_dir() and not config.no_page else None,
            self._metrics,
            on_frame_sent,
        )

    @property
    def ws_url(self) -> str:
        """The address that clients of this machine connect to. Raises RuntimeError before
        `start`."""
        return self._url("ws", self._bound.port)

    @property
    def http_url(self) -> str:
        """The address that clients of this machine fetch files from. Raises RuntimeError before
        `start`."""
        return self._url("http", self._bound.http_port)

    @property
    def summary(self) -> list[str]:
        """What it serves, where, on what, how much and to whom, a line each. Raises RuntimeError
        before `start`."""
        config, model, first = self.config, self._announcement, self.config.placements[0]
        devices = ", ".join(placement.device for placement in config.placements)
        threads = f", threads: {config.threads}" if first.device == "cpu" else ""
        each = " on each device" if len(config.placements) > 1 else ""
        if config.cluster is not None:
            devices, each = f"replicas of a cluster ({config.cluster}), {devices}", " on each"
        whom = str(self._clients.access) if self._clients.access.asks else "all who reach it"
        apart = "" if config.http_port is None else f", files at {self.http_url}"
        beyond = "" if self._bound.is_local else f", and by the addresses of {self._host}"
        return [
            f"serves  {model.name}, revision {model.revision.hex()}",
            f"at      {self.ws_url}{apart}{beyond}",
            f"on      {devices}, {first.dtype}, cache of {first.cache}{threads}",
            f"draws   {config.slots} pictures at once{each}; {config.queue_limit} more may wait",
            f"admits  {whom}",
            *([] if self._openai is None else [f"openai  {self._openai.url}"]),
            *([] if self._prometheus is None else [f"metrics {self._prometheus.url}"]),
        ]

    @property
    def watched(self) -> bool:
        """True if somebody watches a picture that has not ended."""
        return self._gateway.watched

    @property
    def is_lost(self) -> bool:
        """True if the cluster that draws is out of reach."""
        return self._others is not None and self._others.is_lost

    def on_lost(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the cluster that draws is out of reach, if one does."""
        if self._others is not None:
            self._others.on_lost = then

    async def start(self) -> None:
        """Listen and draw. Raises RowcastError, naming the option, where an address cannot be
        had."""
        if self._sockets is None:
            self._sockets = bind(self.config)
        self._engines.start(self._book.deliver)
        if self._others is not None:
            self._others.start(self._book)
            await self._others.found()
        if self._prometheus is not None and self.config.metrics_port is not None:
            self._prometheus.serve(self.config.metrics_host, self.config.metrics_port)
        await self._gateway.start(self._sockets)
        if self.config.openai_port is not None:
            self._openai = self._openai_process(self.config.openai_port)
            await self._openai.start()

    async def close(self, notice: float = 0.0) -> None:
        """Send goaway to the clients, give their pictures up to ``notice`` seconds to end, stop."""
        await self._gateway.close(notice)
        if self._openai is not None:  # what it draws has ended, as any client's
            await self._openai.close()
        if self._prometheus is not None:
            await self._prometheus.close()
        if self._sockets is not None:
            self._sockets.close()
        await self._engines.close()

    def hurry(self) -> None:
        """End the notice of a `close` that is under way."""
        self._gateway.hurry()

    @property
    def _bound(self) -> Sockets:
        if self._sockets is None:
            raise RuntimeError("the server has not been started")
        return self._sockets

    @property
    def _host(self) -> str:
        return self._bound.address if self._bound.given else self.config.host

    def _url(self, scheme: str, port: int | None, host: str | None = None) -> str:
        """An address of this server, by this host; None: by the one that it listens at."""
        if port is None:
            return f"unix:{self._bound.address}"
        secure = "" if self.config.tls_cert is None else "s"
        return f"{scheme}{secure}://{url_host(host or self._host)}:{port}"

    def _openai_process(self, port: int) -> OpenaiProcess:
        config = self.config
        near = WILDCARDS.get(self._bound.address, self._bound.address)
        public = config.public_url and urlsplit(config.public_url).hostname
        return OpenaiProcess(
            self._url("ws", self._bound.port, near),
            config.host,
            port,
            [public] if public else [],
            config.allow_origins,
        )

    def _session(self, visitor: Visitor, wake: Callable[[], None]) -> ServerSession:
        welcome = self._welcome(visitor.host)
        return ServerSession(
            self._book, self._served, welcome, self._clients, visitor, wake, self._metrics
        )

    def _load(self) -> dict[str, float]:
        """What there is at the moment, for `/metrics`."""
        (slots, places), (free, free_places) = self._engines.capacity, self._engines.room
        return {
            "pictures_drawn": slots - free,
            "pictures_waiting": places - free_places,
            "pictures_kept": len(self._book),
            **self._gateway.load,
        }

    def _with_urls(self, host: str | None) -> Model:
        """The announcement with the URLs of files (R-52): beside the WebSocket's own, or at the
        public URL, or on a port of their own at the host by which this client came."""
        if self.config.public_url is not None:
            base = self.config.public_url.rstrip("/") + "/"
        elif self.config.http_port is not None:
            base = self._url("http", self._bound.http_port, host) + "/"
        else:
            base = ""
        files = [replace(file, url=base + file.url) for file in self._announcement.files]
        return replace(self._announcement, files=files)


def access_for(config: ServerConfig, sockets: Sockets | None = None) -> Access:
    """Who the settings admit to these sockets, or to those that are yet to be bound. Raises
    RowcastError, also where that is everybody, from everywhere, and nobody said so; OSError where
    a file cannot be read."""
    if config.tokens:
        return Access(config.tokens, config.token_secret_file)
    access = configured_access(config.token_file, config.token_secret_file)
    where = f"--host {config.host}"
    is_local = config.is_local
    if sockets is not None and sockets.given:
        where = f"LISTEN_FDS: the socket at {sockets.address}"
        is_local = sockets.is_local
    if not (access.asks or is_local or config.open):
        raise RowcastError(
            f"{where} lets everybody draw who reaches this machine; ask for a token by "
            "--token-file, or say --open"
        )
    return access


def announce(model: LoadedModel, variant: str = "float32") -> Model:
    """The model as `welcome` announces it, in a variant (`Placement.variant`), with URLs
    relative to the public URL."""
    grid, default = model.grid, model.sampling
    return Model(
        name=model.name,
        revision=revision_in(variant, model.revision),
        rows=grid.rows,
        cols=grid.cols,
        pixels_per_token=model.pixels_per_token,
        codebook_size=grid.codebook_size,
        id_bytes=id_bytes_for(grid.codebook_size),
        sampling=_ranges(default, grid.codebook_size),
        files=[
            DetokenizerFile(
                kind=file.kind,
                precision=file.precision,
                bytes=file.size,
                sha256=file.sha256,
                url=file_name(file.sha256, file.path.suffix),
            )
            for file in model.files
        ],
        description=model.description,
        examples=model.examples,
    )


def _ranges(default: Sampling, codebook_size: int) -> SamplingRanges:
    """The ranges that may be asked for, with the model's own defaults."""
    ranges = {}
    for parameter in fields(Sampling):
        low, high = parameter.metadata["range"]
        high = codebook_size if high is None else high
        value = min(getattr(default, parameter.name), high)  # a top_k above all codes keeps all
        ranges[parameter.name] = Range(value, low, high)
    return SamplingRanges(**ranges)


def _limits(config: ServerConfig, model: Model) -> Limits:
    engines = len(config.placements) * (config.replicas or 1)
    taken = (config.slots + config.queue_limit) * engines  # at most, ever
    longest = model.rows * model.cols * model.id_bytes + config.prompt_bytes
    return Limits(
        client_frame_bytes=max(4_096, longest + FRAME_SLACK),
        prompt_bytes=config.prompt_bytes,
        images=min(config.images, taken),
        streams=config.streams,
        grace_ms=round(config.grace * 1000),
        keep_ms=round(config.keep * 1000),
    )
