"""A replica: an engine of the cluster, which draws for any gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from itertools import count
from typing import Final

from ..bridge import Fleet
from ..engine.request import EngineEvent, PictureEnded
from .crossing import Item, Job, packed
from .seam import ReplicaState

STUCK_SECONDS: Final = 60.0  # without an event while pictures are drawn: the engine hangs


class Replica:
    """A fleet of one engine, each of whose pictures is a stream. For one event loop."""

    def __init__(self, name: str, revision: str, fleet: Fleet) -> None:
        self._name = name
        self._revision = revision
        self._fleet = fleet
        self._numbers = count()
        self._streams: dict[int, asyncio.Queue[EngineEvent]] = {}
        self._is_started = False
        self._heard = time.monotonic()

    @property
    def state(self) -> ReplicaState:
        """What it tells of itself."""
        slots, places = self._fleet.capacity
        free, free_places = self._fleet.room
        return ReplicaState(
            self._name, self._revision, slots - free, places - free_places, slots, places
        )

    def check(self) -> None:
        """Raise RuntimeError if it has to be replaced: its engine hangs."""
        silent = time.monotonic() - self._heard
        if self._streams and silent > STUCK_SECONDS:
            raise RuntimeError(f"the engine has drawn no row for {silent:.0f} s")

    async def draw(self, job: Job) -> AsyncGenerator[list[Item]]:
        """The events of a picture, those that came together as one item; the last one ends it.

        Who leaves the iterator cancels the picture. Raises Refused where the queue is full.
        """
        if not self._is_started:
            self._fleet.start(self._deliver)
            self._is_started = True
        number = next(self._numbers)
        events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        if not self._streams:
            self._heard = time.monotonic()
        self._fleet.submit(number, job.request, job.client)
        self._streams[number] = events
        try:
            ended = False
            while not ended:
                told = [await events.get()]
                while not events.empty():
                    told.append(events.get_nowait())
                yield packed(told)
                ended = isinstance(told[-1], PictureEnded)
        finally:
            del self._streams[number]
            self._fleet.cancel(number)

    async def close(self) -> None:
        """Stop the engine after the step in hand."""
        await self._fleet.close()

    def _deliver(self, events: list[EngineEvent]) -> None:
        self._heard = time.monotonic()
        for event in events:
            stream = self._streams.get(event.picture)
            if stream is not None:
                stream.put_nowait(event)
