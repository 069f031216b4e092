"""The server's side of every way: a picture is drawn again from its record, at a stated pace.

Tokens come from a whole `RowcastServer` whose runner computes nothing, and OpenAI's stream from
the gateway before it; pictures from `websockets` and `aiohttp`, encoded when their last row is
there. It lives in a process of its own, of which the CPU time is what the way costs beyond drawing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from rowcast.openai_gateway.app import Gateway, listening
from rowcast.openai_gateway.drawing import Upstream
from rowcast.openai_gateway.studio import Studio
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_server.config import ServerConfig
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner import DrawnRow
from rowcast_server.models.client_files import read_detokenizer
from rowcast_server.models.loading import Transformer, load
from rowcast_server.models.sources import EMBEDDED
from rowcast_server.network.facts import Grid
from rowcast_server.placement import Placement
from rowcast_server.serve_options import parse
from rowcast_server.server import RowcastServer
from websockets.asyncio.server import Server, ServerConnection, serve

from .galleries import Gallery
from .ways import Way, encoded

THREADS: Final = 2  # of a decode on the server
NO_LIMITS: Final = (
    "--starts-per-minute=1000000",
    "--messages-per-minute=1000000",
    "--client-pictures=100000",
)


@dataclass(frozen=True)
class Order:
    """A way, the gallery that it shows, and when each row is there, in seconds from a request."""

    gallery: str
    way: Way
    times: Sequence[float]


class RecordedRunner:
    """Draws the rows of a gallery once more: the picture of number ``seed``, one at a time."""

    slots = 2

    def __init__(self, gallery: Gallery, grid: Grid) -> None:
        self.grid = grid
        self.times: Sequence[float] = ()
        self.drawn: list[list[float]] = []  # of each picture, when its rows were there
        self._ids = gallery.ids
        self._seeds = [0] * self.slots
        self._begun = [0.0] * self.slots

    def open(self, slot: int, request: PictureRequest) -> None:
        self._seeds[slot], self._begun[slot] = request.seed, time.monotonic()
        self.drawn.append([])

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        due = self._begun[0] + self.times[int(positions[0]) // self.grid.cols]
        time.sleep(max(0.0, due - time.monotonic()))
        self.drawn[-1].append(time.monotonic())
        return np.full(len(positions), self.grid.cols, np.int64)

    def fill(self, slot: int, first: int, count: int) -> None:
        pass

    def row(self, slot: int, row: int) -> DrawnRow:
        return DrawnRow(self._ids[self._seeds[slot], row])

    def move(self, source: int, destination: int) -> None:
        self._seeds[destination] = self._seeds[source]
        self._begun[destination] = self._begun[source]


class Drawing:
    """A picture under way for whom it is not tokens: rows come by the clock alone."""

    def __init__(self, index: int, times: Sequence[float]) -> None:
        self.index = index
        self.drawn: list[float] = []
        self._times, self._begun = times, time.monotonic()
        self._changed = asyncio.Condition()
        self._clock = asyncio.create_task(self._run())

    async def _run(self) -> None:
        for due in self._times:
            await asyncio.sleep(max(0.0, self._begun + due - time.monotonic()))
            async with self._changed:
                self.drawn.append(time.monotonic())
                self._changed.notify_all()

    async def wait(self, held: int) -> None:
        """Wait until so many rows are there."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.drawn) >= held)


class Sender:
    """All servers of one host, for `Worker`: every way of every gallery."""

    def __init__(self, host: str, galleries: Sequence[Gallery], cache: Path) -> None:
        self._host = host
        self._cache = cache
        self._stack = AsyncExitStack()  # for as long as the process lives
        self._galleries = {each.name: each for each in galleries}
        self._decoders = {
            each.name: Detokenizer(each.full, THREADS) if each.is_decoded else None
            for each in galleries
        }
        self._runners: dict[str, RecordedRunner] = {}
        self._rowcast: dict[str, RowcastServer] = {}
        self._order: Order | None = None
        self._drawings: list[Drawing] = []
        self._cpu = 0.0
        self._sockets: Server | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.addresses: dict[str, str] = self._wait(self._start())

    def where(self) -> dict[str, str]:
        """Addresses: of each gallery's rows of tokens by its name, of its gateway, if it has one,
        by its name and ` images`, `websocket` and `http`."""
        return self.addresses

    def prepare(self, order: Order) -> None:
        """Show pictures so from now on, and begin to count."""
        self._wait(self._prepare(order))
        self._cpu = time.process_time()

    def count(self) -> tuple[list[list[float]], float]:
        """Of all pictures since `prepare`: when each row was there (time.monotonic), and the CPU
        seconds that they took."""
        cpu = time.process_time() - self._cpu
        assert self._order is not None
        gallery = self._galleries[self._order.gallery]
        if self._order.way.is_from_tokens(gallery.is_decoded):
            return self._runners[self._order.gallery].drawn, cpu
        return [each.drawn for each in self._drawings], cpu

    async def _prepare(self, order: Order) -> None:
        self._order, self._drawings = order, []
        runner = self._runners[order.gallery]
        runner.times, runner.drawn = order.times, []

    def _wait(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    async def _start(self) -> dict[str, str]:
        found = {}
        for gallery in self._galleries.values():
            server = self._rowcast_server(gallery)
            await server.start()
            self._rowcast[gallery.name] = server
            found[gallery.name] = server.ws_url
            if gallery.is_decoded:
                found[f"{gallery.name} images"] = await self._gateway(server.ws_url)
        self._sockets = await serve(self._socket, self._host, 0, compression=None)
        port = next(iter(self._sockets.sockets)).getsockname()[1]
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1/images/generations", self._events),
                web.post("/pictures", self._begin),
                web.get("/pictures/{number}", self._newest),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, self._host, 0)
        await site.start()
        http = runner.addresses[0][1]
        return found | {
            "websocket": f"ws://{self._host}:{port}",
            "http": f"http://{self._host}:{http}",
        }

    async def _gateway(self, url: str) -> str:
        """Where OpenAI's image API is served before a server, with its decoders loaded."""
        gateway = Gateway(Upstream(url), Studio(url, THREADS, self._cache))
        await gateway.preload()
        base = await self._stack.enter_async_context(listening(gateway, self._host, 0))
        return base.removesuffix("/v1")

    def _rowcast_server(self, gallery: Gallery) -> RowcastServer:
        words = [*NO_LIMITS, f"--host={self._host}", "--port=0", "--open", "--slots=2"]
        _, config = parse(words)
        model = load(EMBEDDED)
        if not gallery.is_decoded:
            grid = replace(model.grid, codebook_size=gallery.codebook_size)
            files = read_detokenizer(gallery.full).files
            model = replace(
                model, grid=grid, files=files, pixels_per_token=gallery.pixels_per_token
            )

        def make_runner(model: Transformer, config: ServerConfig, _: Placement) -> RecordedRunner:
            self._runners[gallery.name] = RecordedRunner(gallery, model.grid)
            return self._runners[gallery.name]

        return RowcastServer(model, config, make_runner)

    def _draw(self, index: int) -> Drawing:
        assert self._order is not None
        drawing = Drawing(index, self._order.times)
        self._drawings.append(drawing)
        return drawing

    async def _frames(self, drawing: Drawing) -> AsyncIterator[tuple[int, bytes]]:
        """Rows held and the encoded picture, each when its rows are there and it is encoded."""
        assert self._order is not None
        for held in self._order.way.held(self._galleries[self._order.gallery].rows):
            await drawing.wait(held)
            yield held, await self._frame(drawing.index, held)

    async def _frame(self, index: int, held: int) -> bytes:
        assert self._order is not None
        name, way = self._order.gallery, self._order.way
        gallery, decoder = self._galleries[name], self._decoders[name]

        def make() -> bytes:
            return encoded(gallery.state(index, held, way, decoder), way)

        return await asyncio.to_thread(make)

    async def _socket(self, socket: ServerConnection) -> None:
        """A request is a picture's number in text; each answer begins with its rows held."""
        async for asked in socket:
            async for held, data in self._frames(self._draw(int(asked))):
                await socket.send(bytes([held]) + data)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's stream of partial images, of pictures that this gallery's decoder does not
        paint."""
        index = int((await request.json())["seed"])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        assert self._order is not None
        rows, number = self._galleries[self._order.gallery].rows, 0
        async for held, data in self._frames(self._draw(index)):
            is_last = held == rows
            kind = f"image_generation.{'completed' if is_last else 'partial_image'}"
            told: dict[str, Any] = {"type": kind, "b64_json": base64.b64encode(data).decode()}
            told |= {"output_format": "jpeg", "created_at": int(time.time())}
            if not is_last:
                told["partial_image_index"] = number
            number += 1
            await response.write(f"event: {kind}\ndata: {json.dumps(told)}\n\n".encode())
        await response.write_eof()
        return response

    async def _begin(self, request: web.Request) -> web.Response:
        self._draw(int((await request.json())["seed"]))
        return web.json_response({"number": len(self._drawings) - 1})

    async def _newest(self, request: web.Request) -> web.Response:
        """The newest picture; 204 where there is no row that is not `held` already."""
        drawing = self._drawings[int(request.match_info["number"])]
        held = len(drawing.drawn)
        if held <= int(request.query["held"]):
            return web.Response(status=204)
        data = await self._frame(drawing.index, held)
        return web.Response(body=data, content_type="image/jpeg", headers={"x-rows": str(held)})
