"""A clock turned by hand and an engine whose rows a test draws: for the pure parts of a server.

Pictures are of 4x4 ids: `id_at` says which, so that a test knows every frame beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from rowcast.messages import (
    ErrorCode,
    Limits,
    Model,
    Range,
    SamplingRanges,
    Welcome,
)
from rowcast_server.access import Access
from rowcast_server.admission import Order, ServedModel
from rowcast_server.clients import Clients, Visitor
from rowcast_server.cluster.seam import ReplicaState
from rowcast_server.config import ServerConfig
from rowcast_server.engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from rowcast_server.errors import Refused
from rowcast_server.gateway.gateway import Gateway
from rowcast_server.gateway.picture_states import PictureStates
from rowcast_server.gateway.sockets import bind
from rowcast_server.jobs import JobBook
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.facts import Sampling
from rowcast_server.picture import Picture
from rowcast_server.session import ServerSession

from tests.support.raw_client import Client
from tests.support.tiny_model import WORDS, vocabulary_of

MODEL = Model(
    name="tiny",
    revision=bytes.fromhex("1122334455667788"),
    rows=4,
    cols=4,
    pixels_per_token=16,
    codebook_size=16_384,
    id_bytes=2,
    sampling=SamplingRanges(
        temperature=Range(1.0, 0.01, 8.0),
        top_k=Range(256, 1, 16_384),
        top_p=Range(1.0, 0.01, 1.0),
        guidance=Range(16.0, 1.0, 64.0),
    ),
    files=[],
)
LIMITS = Limits(
    client_frame_bytes=4_096, prompt_bytes=1_024, images=16, streams=64, grace_ms=60_000, keep_ms=0
)
TOKENIZER = TextTokenizer(vocabulary_of([*WORDS, "two"]), [])
KEY = bytes(range(16))


def id_at(image: int, row: int, col: int) -> int:
    """The id that the fake engine draws: 11, 12, 13, 14 in row 0 of image 0, 21 … in row 1."""
    return 100 * image + 10 * (row + 1) + col + 1


def ids_of(image: int, first: int, last: int, cols: int = 4) -> bytes:
    """The ids of rows ``first`` … ``last`` - 1, as they are on the wire."""
    rows = ((row, col) for row in range(first, last) for col in range(cols))
    return b"".join(id_at(image, row, col).to_bytes(2, "little") for row, col in rows)


WHOLE = ids_of(0, 0, 4)  # of image 0


def order(**changes: Any) -> Order:
    """An admitted `start` of one picture."""
    plain = Order(MODEL, "a red boat", (0, 2), 7, True, Sampling(), 4)
    return replace(plain, **changes)


@dataclass(eq=False)
class FakeTimer:
    due: float
    callback: Callable[..., object]
    arguments: tuple[object, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Time stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> FakeTimer:
        timer = FakeTimer(self.now + delay, callback, args)
        self._timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[FakeTimer]:
        return sorted((t for t in self._timers if not t.cancelled), key=lambda t: t.due)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.waiting and self.waiting[0].due <= end:
            timer = self.waiting[0]
            self._timers.remove(timer)
            self.now = timer.due
            timer.callback(*timer.arguments)
        self.now = end


class FakeDrawer:
    """Takes what the book submits; draws only what a test asks for."""

    def __init__(
        self,
        deliver: Callable[[list[EngineEvent]], None],
        model: Model,
        capacity: int,
        places: int,
    ) -> None:
        self.model = model
        self.slots = capacity
        self.places = places
        self.requests: dict[int, PictureRequest] = {}  # not ended
        self.clients: dict[int, Hashable] = {}
        self.arrivals: asyncio.Queue[int] = asyncio.Queue()
        self.cancelled: list[int] = []
        self._deliver = deliver
        self._rows: dict[int, int] = {}

    replicas: tuple[ReplicaState, ...] = ()

    @property
    def capacity(self) -> tuple[int, int]:
        return self.slots, self.places

    @property
    def room(self) -> tuple[int, int]:
        over = len(self.requests) - self.slots
        return max(0, -over), self.places - max(0, over)

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        if self.room == (0, 0):
            raise Refused(ErrorCode.BUSY, "full", 2_000)
        self.arrivals.put_nowait(picture)
        self.requests[picture] = request
        self.clients[picture] = client
        self._rows[picture] = request.prefix_rows

    def cancel(self, picture: int) -> None:
        if self.requests.pop(picture, None):
            self.cancelled.append(picture)  # the real engine tells later; the book waits for nobody

    def place(self, picture: int, place: int = 0) -> None:
        self._deliver([PicturePlaced(picture, place)])

    def draw(self, picture: int, rows: int = 1) -> None:
        """Draw rows; the last of them ends the picture, as with the real engine."""
        request = self.requests[picture]
        events: list[EngineEvent] = [PicturePlaced(picture, 0)]
        for _ in range(rows):
            row = self._rows[picture]
            self._rows[picture] += 1
            ids = [id_at(request.image, row, col) for col in range(self.model.cols)]
            events.append(RowDrawn(picture, row, np.array(ids, np.int64)))
        if self._rows[picture] == request.stop_row:
            del self.requests[picture]
            events.append(PictureEnded(picture, Ending.DRAWN))
        self._deliver(events)

    def fail(self, picture: int, text: str = "") -> None:
        del self.requests[picture]
        self._deliver([PictureEnded(picture, Ending.FAILED, text)])


class Studio:
    """A book of pictures with a fake clock and a fake drawer, and the lines that lead to it."""

    def __init__(
        self,
        *,
        grace: float = 30.0,
        keep: float = 300.0,
        deadline: float = 600.0,
        capacity: int = 10_000,
        client_pictures: int = 10_000,
        places: int = 0,
        access: Access | None = None,
        welcome: Welcome | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``capacity`` pictures may be drawn, and ``places`` more wait. Without ``access`` tokens
        are those of settings. With a ``loop`` its time is the real one, as behind `open_gateway`.
        """
        self.access = access
        self.clock = FakeClock()
        self.welcome = welcome or Welcome(LIMITS, [MODEL])
        model = self.welcome.models[0]
        self.served = ServedModel(model, TOKENIZER)
        self.drawer = FakeDrawer(lambda events: self.book.deliver(events), model, capacity, places)
        clock = loop or self.clock
        self.book = JobBook(
            self.drawer,
            lambda: clock,
            grace=grace,
            keep=keep,
            deadline=deadline,
            client_pictures=client_pictures,
        )
        self.clients = self.clients_of(ServerConfig())

    def start(self, key: bytes = KEY, image: int = 0, **changes: Any) -> Picture:
        """A picture that somebody watches."""
        model = self.welcome.models[0]
        settings = {"model": model, "stop_row": model.rows, **changes}
        picture = self.book.start(key, image, order(**settings), "somebody")
        self.book.attach(picture, lambda: None)
        return picture

    def clients_of(self, config: ServerConfig) -> Clients:
        """The rates of a server of these settings, and its tokens."""
        return Clients(config, self.access or Access(config.tokens), self.clock.time)

    def session(
        self,
        wake: Callable[[], None],
        visitor: Visitor | None = None,
        clients: Clients | None = None,
    ) -> ServerSession:
        return ServerSession(
            self.book,
            self.served,
            self.welcome,
            clients or self.clients,
            visitor or Visitor("192.0.2.1"),
            wake,
        )


@asynccontextmanager
async def open_gateway(
    studio: Studio,
    files: Mapping[bytes, Path] = MappingProxyType({}),
    page: Path | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Gateway, str]]:
    """A studio behind a real port, and its URL; ``settings`` are ServerConfig's."""
    config = ServerConfig(port=0, **settings)
    clients = studio.clients_of(config)
    gateway = Gateway(
        config,
        clients,
        lambda visitor, wake: studio.session(wake, visitor, clients),
        files,
        PictureStates(studio.book, studio.drawer),
        page,
    )
    sockets = bind(config)
    await gateway.start(sockets)
    try:
        yield gateway, f"ws://127.0.0.1:{sockets.port}"
    finally:
        await gateway.close()
        sockets.close()


async def start_through(studio: Studio, client: Client, stream: int = 0, **options: Any) -> int:
    """Start a picture; its number with the engine."""
    await client.start(stream, **{"key": KEY, **options})
    number = await studio.drawer.arrivals.get()
    studio.drawer.place(number)
    return number
