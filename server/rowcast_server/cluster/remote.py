"""A cluster's replicas as one engine: each picture is a stream from one of them.

A stream that breaks is taken up elsewhere from the rows that came: the same request with them as
its prefix gives the same ids, so that viewers notice a pause, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import numpy as np
from rowcast.messages import ErrorCode

from ..engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from ..errors import BUSY_RETRY_MS, Refused
from .crossing import Item, Job, unpacked
from .others import ClusterError, Others
from .seam import Deliver, ReplicaState

logger = logging.getLogger(__name__)

MOST_ATTEMPTS: Final = 12  # in a row that brought nothing, for one picture: some 40 s
FIRST_WAIT_SECONDS: Final = 0.1  # before the next attempt; then twice as long
LONGEST_WAIT_SECONDS: Final = 5.0
LOST: Final = "the replicas that drew it were lost, one after the other"

Draw = Callable[[Job], AsyncGenerator[list[Item]]]  # raises ClusterError where the stream breaks


class RemoteEngines:
    """Draws on a cluster (`seam.Engines`). All methods are for the event loop's thread.

    ``draw`` opens the stream of a picture on any replica; ``others`` are the gateways beside this.
    """

    def __init__(self, draw: Draw, others: Others) -> None:
        self._draw = draw
        self.others = others
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def replicas(self) -> tuple[ReplicaState, ...]:
        return self.others.replicas

    @property
    def capacity(self) -> tuple[int, int]:
        slots = sum(replica.slots for replica in self.replicas)
        return slots, sum(replica.places for replica in self.replicas)

    @property
    def room(self) -> tuple[int, int]:
        """Slots and places that are free, as far as it is known: what other gateways took since
        their last word is not counted."""
        slots, places = self.capacity
        over = len(self._tasks) + self.others.pictures - slots
        return max(0, -over), max(0, places - max(0, over))

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        """Have a picture drawn. Raises Refused (busy) where there is no room."""
        if self.room == (0, 0):
            raise Refused(ErrorCode.BUSY, "every replica of the cluster is full", BUSY_RETRY_MS)
        task = asyncio.create_task(self._follow(picture, Job(request, client)))
        self._tasks[picture] = task
        task.add_done_callback(lambda _: self._tasks.pop(picture, None))

    def cancel(self, picture: int) -> None:
        """End a picture; nothing happens to one that has ended."""
        if picture in self._tasks:
            self._tasks[picture].cancel()

    async def close(self) -> None:
        """End every picture."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.others.close()

    async def _follow(self, picture: int, job: Job) -> None:
        """Take a picture's events to its end, from one replica after the other."""
        given, attempts, wait = job.request.prefix_rows, 0, FIRST_WAIT_SECONDS
        while attempts < MOST_ATTEMPTS and job.request.prefix_rows < job.request.stop_row:
            rows: list[RowDrawn] = []
            try:
                async with aclosing(self._draw(job)) as stream:
                    async for items in stream:
                        events = unpacked(picture, items)
                        rows += [event for event in events if isinstance(event, RowDrawn)]
                        has_begun = rows or job.request.prefix_rows > given
                        self._tell(events, bool(has_begun))
                        if isinstance(events[-1], PictureEnded):
                            return
            except (ClusterError, ValueError) as error:
                logger.warning("a replica is lost under picture %d: %s", picture, error)
            if rows:
                job = replace(job, request=_from(job.request, rows))
                attempts, wait = 0, FIRST_WAIT_SECONDS
            else:
                attempts += 1
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        if job.request.prefix_rows < job.request.stop_row:
            self._deliver([PictureEnded(picture, Ending.FAILED, LOST)])
        else:  # the last row had come, its end had not
            self._deliver([PictureEnded(picture, Ending.DRAWN)])

    def _tell(self, events: list[EngineEvent], has_begun: bool) -> None:
        """A picture that has begun waits for nobody, whatever place it has in another queue."""
        told = [
            event
            for event in events
            if not (has_begun and isinstance(event, PicturePlaced) and event.place > 0)
        ]
        if told:
            self._deliver(told)


def _from(request: PictureRequest, rows: list[RowDrawn]) -> PictureRequest:
    """The rest of a picture."""
    drawn = np.stack([row.ids for row in rows])
    before = [] if request.prefix is None else [request.prefix]
    return replace(request, prefix=np.concatenate([*before, drawn]))
