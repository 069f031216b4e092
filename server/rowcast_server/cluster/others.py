"""The other gateways of a cluster: what they draw can be watched here, and is drawn on here where
they are lost.

A picture of another gateway stands in this one's book as a mirror, and grows as the directory
tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Final, Protocol

from rowcast.messages import DoneReason

from ..errors import Refused
from ..jobs import JobBook
from ..picture import Picture
from .directory import (
    Beat,
    Change,
    Ended,
    Followed,
    Forgotten,
    Grown,
    News,
    Notice,
    Opened,
    Orphaned,
    Placed,
    Shared,
    Unfollowed,
)
from .seam import Name, ReplicaState

logger = logging.getLogger(__name__)

PUBLISH_SECONDS: Final = 0.05  # changes are published together
RETRY_SECONDS: Final = 0.5  # between attempts to reach the directory
PATIENCE_SECONDS: Final = 20.0  # without the directory, after which the cluster is lost


class ClusterError(Exception):
    """A part of the cluster cannot be reached at the moment."""


class DirectoryLine(Protocol):
    """The directory as a gateway reaches it. All raise ClusterError."""

    async def news(self, gateway: str, beat: Beat) -> News: ...

    async def publish(self, gateway: str, changes: list[Change]) -> None: ...

    async def look_up(self, gateway: str, name: Name) -> tuple[Shared, bool] | None: ...

    async def claim(self, gateway: str, name: Name) -> Shared | None: ...

    async def leave(self, gateway: str) -> None: ...


class Others:
    """What other gateways do, as this one's book sees it (`seam.Elsewhere`).

    ``gateway`` is this one's name. ``on_lost`` is called once the directory has been out of reach
    for `PATIENCE_SECONDS`.
    """

    def __init__(
        self, line: DirectoryLine, gateway: str, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._line = line
        self._gateway = gateway
        self.on_lost = on_lost
        self.is_lost = False
        self._silence = ""  # why the directory does not answer
        self.replicas: tuple[ReplicaState, ...] = ()
        self._elsewhere: Counter[Hashable] = Counter()
        self._own: dict[Name, Picture] = {}  # drawn for this gateway, not ended
        self._mirrors: dict[Name, Picture] = {}  # not ended
        self._changes: list[Change] = []
        self._changed = asyncio.Event()
        self._found = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pictures(self) -> int:
        """Pictures that are drawn for other gateways, or wait."""
        return self._elsewhere.total()

    def start(self, book: JobBook) -> None:
        """Listen and publish, in the running loop."""
        self._book = book
        self._run(self._listen())
        self._run(self._publish_all())

    async def found(self) -> None:
        """Wait until a replica has told of itself: before that there is no room for a picture."""
        await self._found.wait()

    async def close(self) -> None:
        """Leave the cluster: others may draw on what is not ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(1):
                await self._line.leave(self._gateway)

    # What the book tells

    def opened(self, picture: Picture) -> None:
        self._own[picture.name] = picture
        self._mirrors.pop(picture.name, None)
        self._put(Opened(_shared(picture)))

    def placed(self, picture: Picture) -> None:
        self._put(Placed(picture.name, picture.place))

    def grown(self, picture: Picture, first_row: int) -> None:
        ids = bytes(picture.ids[first_row * picture.order.row_bytes :])
        self._put(Grown(picture.name, first_row, ids))

    def ended(self, picture: Picture) -> None:
        self._own.pop(picture.name, None)
        assert picture.reason is not None
        self._put(Ended(picture.name, picture.reason))

    def forgot(self, picture: Picture) -> None:
        self._put(Forgotten(picture.name))

    def left(self, picture: Picture, reason: DoneReason) -> None:
        self._mirrors.pop(picture.name, None)
        self._put(Unfollowed(picture.name, bool(picture.viewers)))  # by grace there are none

    def taken(self, client: Hashable) -> int:
        return self._elsewhere[client]

    def seek(self, name: Name, then: Callable[[], None]) -> None:
        self._run(self._seek(name, then))

    # The directory

    async def _seek(self, name: Name, then: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(5):
                found = await self._line.look_up(self._gateway, name)
        except (ClusterError, TimeoutError) as error:
            logger.warning("the directory of the cluster did not answer: %s", error)
            found = None
        if found is not None and not self._book.has(name):
            shared, is_orphan = found
            self._mirror(shared)
            if is_orphan:
                await self._claim(name)
        then()

    def _mirror(self, shared: Shared) -> None:
        picture = self._book.mirror(
            shared.name, shared.order, shared.client, shared.owner, shared.ids
        )
        if shared.reason is None:
            self._mirrors[shared.name] = picture
            self._book.place(picture, shared.place)
        else:
            self._book.finish(picture, shared.reason)

    async def _claim(self, name: Name) -> None:
        """Draw on what a lost gateway left, unless somebody else does."""
        while (picture := self._mirrors.get(name)) is not None:
            try:
                shared = await self._line.claim(self._gateway, name)
            except ClusterError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if shared is not None:
                self._book.extend(picture, 0, shared.ids)
                self._take_over(picture)
            return

    def _take_over(self, picture: Picture) -> None:
        del self._mirrors[picture.name]
        logger.info("picture %d is drawn on here: its gateway is lost", picture.number)
        try:
            self._book.take_over(picture)
        except Refused as refusal:
            self._book.finish(picture, refusal)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            taken = Counter(picture.client for picture in self._own.values())
            try:
                async with asyncio.timeout(5):
                    news = await self._line.news(self._gateway, Beat(dict(taken)))
            except (ClusterError, TimeoutError) as error:
                self._heed(f"does not answer: {error}")
                if loop.time() - heard > PATIENCE_SECONDS and not self.is_lost:
                    self.is_lost = True
                    self.on_lost()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            heard = loop.time()
            self._heed("")
            self.replicas, self._elsewhere = news.replicas, Counter(news.taken)
            if self.replicas:
                self._found.set()
            if not news.is_known:
                self._publish_anew()
            for notice in news.notices:
                self._take(notice)

    def _publish_anew(self) -> None:
        """The directory knows nothing of this gateway: it is new, or has begun anew."""
        self._changes[:] = [Opened(_shared(picture)) for picture in self._own.values()]
        self._changed.set()
        for name in self._mirrors:
            self._run(self._follow_anew(name))

    async def _follow_anew(self, name: Name) -> None:
        """Its gateway publishes it anew too, unless it went with the directory."""
        picture = self._mirrors[name]
        for _ in range(10):
            with suppress(ClusterError):
                found = await self._line.look_up(self._gateway, name)
                if found is not None:
                    shared, is_orphan = found
                    self._book.extend(picture, 0, shared.ids)
                    if is_orphan:
                        await self._claim(name)
                    return
            await asyncio.sleep(RETRY_SECONDS)
        if self._mirrors.get(name) is picture:
            self._take_over(picture)

    def _take(self, notice: Notice) -> None:
        own, mirror = self._own.get(notice.name), self._mirrors.get(notice.name)
        match notice:
            case Followed() if own is not None:
                self._book.attach(own, _for_others)
            case Unfollowed() if own is not None:
                self._book.detach(own, _for_others)
                if notice.cancelled or not own.viewers:  # their grace time is over already
                    self._book.cancel(own)
            case Placed() if mirror is not None:
                self._book.place(mirror, notice.place)
            case Grown() if mirror is not None:
                self._book.extend(mirror, notice.first_row, notice.ids)
            case Ended() if mirror is not None:
                del self._mirrors[notice.name]
                self._book.finish(mirror, notice.reason)
            case Orphaned() if mirror is not None:
                self._run(self._claim(notice.name))

    def _put(self, change: Change) -> None:
        self._changes.append(change)
        self._changed.set()

    async def _publish_all(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(PUBLISH_SECONDS)
            self._changed.clear()
            changes, self._changes = self._changes, []
            try:
                await self._line.publish(self._gateway, changes)
            except ClusterError as error:
                self._heed(f"does not answer: {error}")
                self._changes[:0] = changes  # what it did hear changes nothing
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    def _heed(self, why: str) -> None:
        """Tell once that the directory is out of reach, and once that it answers again."""
        if bool(why) != bool(self._silence):
            logger.warning("the directory of the cluster %s", why or "answers again")
        self._silence = why

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _for_others() -> None:
    """The viewer that stands for all gateways that follow a picture of this one."""


def _shared(picture: Picture) -> Shared:
    return Shared(
        picture.name,
        picture.order,
        picture.client,
        picture.owner,
        bytes(picture.ids),
        picture.place,
        picture.reason,
    )
