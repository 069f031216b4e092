"""The whole server: engines, book of pictures, gateway and HTTP, wired together."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import fields

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

from .admission import ServedModel
from .auth import token_check
from .bridge import EngineBridge
from .config import ServerConfig
from .engine.engine import Engine
from .engine.runner import Runner
from .fleet import Fleet
from .gateway.compressed import CompressedFiles
from .gateway.web import WebServer, file_name, make_app
from .gateway.websocket import FrameHook, Gateway
from .jobs import JobBook
from .models.loading import LoadedModel, Transformer
from .models.revision import revision_in
from .network.facts import Sampling
from .placement import Placement
from .runners import make_runner
from .session import ServerSession

PREFIX_FRAME_SLACK = 4_096  # a start's prompt and options beside its prefix

RunnerFactory = Callable[[Transformer, ServerConfig, Placement], Runner]


class RowcastServer:
    """A server of one model, with an engine for each of ``config.placements``.

    Once made, it has its engines and their memory, which takes a while for a large model; `start`
    returns once jobs are taken, and `close` ends everything. ``make_runner`` makes an engine's
    runner, and ``on_frame_sent`` is called with each frame that was sent.

    Raises RowcastError where a device has too little memory.
    """

    def __init__(
        self,
        model: LoadedModel,
        config: ServerConfig,
        make_runner: RunnerFactory = make_runner,
        on_frame_sent: FrameHook = lambda frame: None,
    ) -> None:
        self.config = config
        self._announcement = announce(model, config.placements[0].variant)
        self._served = ServedModel(self._announcement, model.tokenizer)
        self._limits = _limits(config, self._announcement)
        self._authorise = token_check(config.tokens)
        self._gateway = Gateway(config, self._session, on_frame_sent)
        files = {file.sha256: file.path for file in model.files}
        self._web = WebServer(
            make_app(files, lambda: self._ready, CompressedFiles().of),
            config.host,
            config.http_port,
        )
        self._ready = False
        bridges = []
        for placement in config.placements:
            engine = Engine(make_runner(model, config, placement))
            capacity = config.slots + config.queue_limit
            bridges.append(EngineBridge(engine, capacity, gives_way=placement.device == "cpu"))
        self._fleet = Fleet(bridges)
        times = {"grace": config.grace, "keep": config.keep, "deadline": config.deadline}
        self._book = JobBook(self._fleet, asyncio.get_running_loop, **times)

    @property
    def ws_url(self) -> str:
        """The address that clients connect to. Raises RuntimeError before `start`."""
        return f"ws://{_bracketed(self.config.host)}:{self._gateway.port}"

    @property
    def http_url(self) -> str:
        """The address that clients fetch files from. Raises RuntimeError before `start`."""
        return self._base_url(self.config.host)

    @property
    def summary(self) -> list[str]:
        """What it serves, where, on what, how much and to whom, a line each. Raises RuntimeError
        before `start`."""
        config, model, first = self.config, self._announcement, self.config.placements[0]
        devices = ", ".join(placement.device for placement in config.placements)
        threads = f", threads: {config.threads}" if first.device == "cpu" else ""
        each = " on each device" if len(config.placements) > 1 else ""
        tokens = len(config.tokens)
        whom = f"who has one of {tokens} tokens" if tokens else f"all who reach {config.host}"
        return [
            f"serves  {model.name}, revision {model.revision.hex()}",
            f"at      {self.ws_url}, files at {self.http_url}",
            f"on      {devices}, {first.dtype}, cache of {first.cache}{threads}",
            f"draws   {config.slots} pictures at once{each}; {config.queue_limit} more may wait",
            f"admits  {whom}",
        ]

    @property
    def watched(self) -> bool:
        """True if somebody watches a picture that has not ended."""
        return self._gateway.watched

    async def start(self) -> None:
        """Listen and draw. Raises RowcastError, naming the option, where an address cannot be
        had."""
        for setting, listener in (("http_port", self._web), ("port", self._gateway)):
            try:
                await listener.start()
            except OSError as error:
                await self.close()
                raise cannot_listen(self.config, setting, error) from error
        self._fleet.start(self._book.deliver)
        self._ready = True

    async def close(self, notice: float = 0.0) -> None:
        """Send goaway to the clients, give their pictures up to ``notice`` seconds to end, stop."""
        self._ready = False
        await self._gateway.close(notice)
        await self._web.close()
        await self._fleet.close()

    def hurry(self) -> None:
        """End the notice of a `close` that is under way."""
        self._gateway.hurry()

    def _session(self, host: str | None, wake: Callable[[], None]) -> ServerSession:
        return ServerSession(
            self._book,
            self._served,
            Welcome(self._limits, [self._with_urls(host)]),
            self._authorise,
            client=object(),
            wake=wake,
        )

    def _with_urls(self, host: str | None) -> Model:
        """The announcement with absolute URLs, at the host by which this client came."""
        base = self._base_url(host or self.config.host)
        files = [replace(file, url=f"{base}/{file.url}") for file in self._announcement.files]
        return replace(self._announcement, files=files)

    def _base_url(self, host: str) -> str:
        url = self.config.public_url or f"http://{_bracketed(host)}:{self._web.port}"
        return url.rstrip("/")


def _bracketed(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def cannot_listen(config: ServerConfig, setting: str, error: OSError) -> RowcastError:
    """The error of a listener whose address cannot be had, with the option that chooses one."""
    (option,) = (each.metadata["option"] for each in fields(config) if each.name == setting)
    port = getattr(config, setting)
    where = f"cannot listen on {config.host}, port {port}: {error.strerror or error}"
    match error.errno:
        case errno.EADDRINUSE:
            where += f"; is another server running? choose another port with {option}"
        case errno.EACCES:
            where += f"; choose a port above 1023 with {option}"
        case _:
            where += "; --host must name an address of this machine"
    return RowcastError(where)


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
    taken = (config.slots + config.queue_limit) * len(config.placements)  # at most, ever
    prefix = model.rows * model.cols * model.id_bytes
    return Limits(
        client_frame_bytes=max(4_096, prefix + PREFIX_FRAME_SLACK),
        prompt_bytes=config.prompt_bytes,
        images=min(config.images, taken),
        streams=config.streams,
        grace_ms=round(config.grace * 1000),
        keep_ms=round(config.keep * 1000),
    )
