"""A whole server: engine, book of pictures, gateway and HTTP, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from rowcast.messages import (
    DetokenizerFile,
    Limits,
    Model,
    Range,
    SamplingRanges,
    Welcome,
    id_bytes_for,
)

from .admission import ServedModel
from .auth import token_check
from .bridge import EngineBridge
from .config import ServerConfig
from .engine.engine import Engine
from .fleet import Fleet
from .gateway import Gateway
from .jobs import JobBook
from .models.loading import LoadedModel, revision_in
from .placement import Placement
from .runners import make_runner
from .session import ServerSession
from .web import WebServer, file_name, make_app

# What may be asked of any model; the defaults are the model's own.
TEMPERATURES = (0.01, 10.0)
TOP_P = (0.01, 1.0)
GUIDANCE = (0.0, 64.0)
PREFIX_FRAME_SLACK = 4_096  # a start's prompt and options beside its prefix


class RowcastServer:
    """Serves one model. `start` returns once jobs are taken; `close` ends everything.

    ``ws_url`` and ``http_url`` tell where, after `start`.
    """

    def __init__(self, model: LoadedModel, config: ServerConfig) -> None:
        self.config = config
        self._model = model
        drawn = Placement(config.devices[0], config.dtype)
        self._announcement = announce(model, drawn.variant(config.cache))
        self._models = {model.name: ServedModel(self._announcement, model.tokenizer)}
        self._limits = _limits(config, self._announcement)
        self._authorise = token_check(config.tokens)
        self._gateway = Gateway(config, self._session)
        self._web = WebServer(
            make_app({file.sha256: file.path for file in model.files}, lambda: self._ready),
            config.host,
            config.http_port,
        )
        self._ready = False
        self._fleet = Fleet([])
        self.ws_url = ""
        self.http_url = ""
        self._http_port = 0

    async def start(self) -> None:
        """Raises OSError where an address cannot be had, RowcastError where the device has not
        the memory."""
        loop = asyncio.get_running_loop()
        self._book = JobBook(
            loop,
            grace=self.config.grace,
            keep=self.config.keep,
            deadline=self.config.deadline,
        )
        engines = await asyncio.to_thread(self._make_engines)
        bridges = [
            EngineBridge(engine, self._book.deliver, loop, gives_way=device == "cpu")
            for engine, device in zip(engines, self.config.devices, strict=True)
        ]
        self._fleet = Fleet(bridges)
        self._book.add_drawer(self._model.name, self._fleet)
        self._http_port = await self._web.start()
        port = await self._gateway.start()
        self._fleet.start()
        host = self.config.host
        self.ws_url = f"ws://{_bracketed(host)}:{port}"
        self.http_url = (self.config.public_url or _http_url(host, self._http_port)).rstrip("/")
        self._ready = True

    async def close(self, notice: float = 0.0) -> None:
        """Tell the clients, wait ``notice`` seconds, stop."""
        self._ready = False
        await self._gateway.close(notice)
        await self._web.close()
        await self._fleet.close()

    def _make_engines(self) -> list[Engine]:
        model, config = self._model, self.config
        runners = [make_runner(model, config, device) for device in config.devices]
        return [Engine(runner, config.queue_limit) for runner in runners]

    def _session(self, host: str | None, wake: Callable[[], None]) -> ServerSession:
        return ServerSession(
            self._book,
            self._models,
            Welcome(self._limits, [self._with_urls(host)]),
            self._authorise,
            client=object(),
            wake=wake,
        )

    def _with_urls(self, host: str | None) -> Model:
        """The announcement with absolute URLs, at the host by which this client came."""
        base = self.config.public_url or _http_url(host or self.config.host, self._http_port)
        files = [
            msgspec.structs.replace(file, url=f"{base.rstrip('/')}/{file.url}")
            for file in self._announcement.files
        ]
        return msgspec.structs.replace(self._announcement, files=files)


def _http_url(host: str, port: int) -> str:
    return f"http://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def announce(model: LoadedModel, variant: str = "float32") -> Model:
    """What `welcome` says of a model drawn in a variant, with URLs relative to the public URL."""
    grid, default = model.grid, model.sampling
    return Model(
        name=model.name,
        revision=revision_in(variant, model.revision),
        rows=grid.rows,
        cols=grid.cols,
        pixels_per_token=model.pixels_per_token,
        codebook_size=grid.codebook_size,
        id_bytes=id_bytes_for(grid.codebook_size),
        sampling=SamplingRanges(
            temperature=Range(default.temperature, *TEMPERATURES),
            top_k=Range(default.top_k, 0, grid.codebook_size),
            top_p=Range(default.top_p, *TOP_P),
            guidance=Range(default.guidance, *GUIDANCE),
        ),
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
    )


def _limits(config: ServerConfig, model: Model) -> Limits:
    prefix = model.rows * model.cols * model.id_bytes
    return Limits(
        client_frame_bytes=max(4_096, prefix + PREFIX_FRAME_SLACK),
        prompt_bytes=config.prompt_bytes,
        images=config.images,
        streams=config.streams,
        grace_ms=round(config.grace * 1000),
        keep_ms=round(config.keep * 1000),
    )
