"""A cluster in one event loop: gateways with real books over one directory, and replicas whose rows
a test draws."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable
from dataclasses import dataclass, field

import numpy as np
from rowcast.messages import view_key
from rowcast_server.cluster.crossing import Item, Job, packed
from rowcast_server.cluster.directory import Beat, Change, Directory, News, Shared
from rowcast_server.cluster.others import ClusterError, Others
from rowcast_server.cluster.remote import RemoteEngines
from rowcast_server.cluster.seam import Name, ReplicaState
from rowcast_server.engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    RowDrawn,
)
from rowcast_server.jobs import JobBook
from rowcast_server.picture import Picture

from tests.support.fakes import KEY, MODEL, id_at, order
from tests.support.raw_client import until

SLOTS, PLACES = 4, 8
GRACE, KEEP = 30.0, 300.0


class TurnedClock:
    """The time of a directory: as the test turns it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Stream:
    """A picture at a replica, which draws what a test asks for."""

    job: Job
    events: asyncio.Queue[list[EngineEvent] | ClusterError] = field(default_factory=asyncio.Queue)
    left: bool = False

    def __post_init__(self) -> None:
        self.row = self.job.request.prefix_rows

    def place(self, place: int) -> None:
        self.events.put_nowait([PicturePlaced(0, place)])

    def draw(self, rows: int = 1, *, end: bool = True) -> None:
        """Draw rows; the last one of the picture ends it."""
        request = self.job.request
        events: list[EngineEvent] = []
        for _ in range(rows):
            ids = [id_at(request.image, self.row, col) for col in range(MODEL.cols)]
            events.append(RowDrawn(0, self.row, np.array(ids, np.int64)))
            self.row += 1
        if end and self.row == request.stop_row:
            events.append(PictureEnded(0, Ending.DRAWN))
        self.events.put_nowait(events)

    def fail(self) -> None:
        self.events.put_nowait([PictureEnded(0, Ending.FAILED, "not finite")])

    def breaks(self) -> None:
        self.events.put_nowait(ClusterError("the replica died"))


class FakeReplicas:
    """Takes jobs as the replicas of a cluster do: ``streams`` are all there were, in order."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    async def __call__(self, job: Job) -> AsyncGenerator[list[Item]]:
        stream = Stream(job)
        self.streams.append(stream)
        try:
            while True:
                events = await stream.events.get()
                if isinstance(events, ClusterError):
                    raise events
                yield packed(events)
                if isinstance(events[-1], PictureEnded):
                    return
        finally:
            stream.left = True

    async def stream(self, number: int = -1) -> Stream:
        """The stream of this number, once it is there."""
        wanted = number + 1 if number >= 0 else 1
        await until(lambda: len(self.streams) >= wanted)
        return self.streams[number]


class Line:
    """A directory by calls, which a test can cut."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.is_cut = False

    def _check(self) -> None:
        if self.is_cut:
            raise ClusterError("the directory is out of reach")

    async def news(self, gateway: str, beat: Beat) -> News:
        self._check()
        news = await self.directory.news(gateway, beat)
        self._check()
        return news

    async def publish(self, gateway: str, changes: list[Change]) -> None:
        self._check()
        await self.directory.publish(gateway, changes)

    async def look_up(self, gateway: str, name: Name) -> tuple[Shared, bool] | None:
        self._check()
        return await self.directory.look_up(gateway, name)

    async def claim(self, gateway: str, name: Name) -> Shared | None:
        self._check()
        return await self.directory.claim(gateway, name)

    async def leave(self, gateway: str) -> None:
        self._check()
        await self.directory.leave(gateway)


class FakeGateway:
    """A book over a cluster."""

    def __init__(self, name: str, directory: Directory) -> None:
        self.replicas = FakeReplicas()
        self.line = Line(directory)
        self.others = Others(self.line, name)
        self.engines = RemoteEngines(self.replicas, self.others)
        self.book = JobBook(
            self.engines,
            asyncio.get_running_loop,
            grace=GRACE,
            keep=KEEP,
            deadline=600.0,
            client_pictures=100,
            elsewhere=self.others,
        )

    async def open(self) -> None:
        self.engines.start(self.book.deliver)
        self.others.start(self.book)
        await self.others.found()

    def die(self) -> None:
        """As `kill -9`: nobody is told."""
        for task in (*self.others._tasks, *self.engines._tasks.values()):
            task.cancel()

    def start(self, image: int = 0, client: Hashable = "somebody") -> Picture:
        """A picture that somebody watches."""
        picture = self.book.start(KEY, image, order(model=MODEL), client)
        self.book.attach(picture, _nobody)
        return picture

    async def seek(self, image: int = 0) -> Picture | None:
        """A picture that is asked for elsewhere, and watched if there is one."""
        found = asyncio.Event()
        name = view_key(KEY), image
        if self.book.seek(name, found.set):
            await found.wait()
        if not self.book.has(name):
            return None
        picture = self.book.find(*name, 0, 0)
        self.book.attach(picture, _nobody)
        return picture

    def leave(self, picture: Picture) -> None:
        self.book.detach(picture, _nobody)


class FakeCluster:
    """Gateways over one directory, which is told of one replica."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.directory = Directory(GRACE, KEEP, self.clock)
        self.gateways: list[FakeGateway] = []

    async def report(self, slots: int = SLOTS) -> None:
        await self.directory.report(ReplicaState("one", "57ee", 0, 0, slots, PLACES))

    async def gateway(self) -> FakeGateway:
        gateway = FakeGateway(f"gateway-{len(self.gateways)}", self.directory)
        self.gateways.append(gateway)
        await self.report()
        await gateway.open()
        return gateway

    def begin_anew(self) -> None:
        """The directory is another one, which knows nothing."""
        self.directory = Directory(GRACE, KEEP, self.clock)
        for gateway in self.gateways:
            gateway.line.directory = self.directory

    async def close(self) -> None:
        for gateway in self.gateways:
            await gateway.engines.close()


def is_at(picture: Picture, **values: object) -> bool:
    """True if a picture has these values."""
    return all(getattr(picture, name) == value for name, value in values.items())


def _nobody() -> None:
    """A viewer."""
