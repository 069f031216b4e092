"""The book of pictures: a row log per image, a cursor per viewer, grace times and expiry.

A picture belongs to no connection: it is named by (view key, image), grows by whole rows, and any
number of viewers read its log at their own pace. Knows neither sockets nor threads; time comes from
the clock it is given, so that tests can turn it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from itertools import count
from typing import Final, Protocol

from rowcast.messages import DoneReason, ErrorCode, ids_checksum, view_key

from .admission import Order
from .cluster.seam import Drawer, Elsewhere
from .engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    RowDrawn,
)
from .errors import BUSY_RETRY_MS, Refused
from .metrics import Metrics
from .picture import Picture, Timer

logger = logging.getLogger(__name__)

MAX_KEPT: Final = 32_768  # pictures that have ended, some 4 KB each; beyond it the oldest go early


class Clock(Protocol):
    """The part of an asyncio loop the book needs."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer: ...


class JobBook:
    """All pictures of a server. Every wait ends: by grace, keep or deadline, in seconds.

    ``deadline`` is for the drawing alone: a picture in the queue waits for those before it, whose
    drawing ends.

    ``clock`` gives the clock when it is needed, as `asyncio.get_running_loop` does.
    """

    def __init__(
        self,
        drawer: Drawer,
        clock: Callable[[], Clock],
        *,
        grace: float,
        keep: float,
        deadline: float,
        client_pictures: int,
        metrics: Metrics | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._drawer = drawer
        self._elsewhere = elsewhere
        self._clock = clock
        self._grace = grace
        self._keep = keep
        self._deadline = deadline
        self._client_pictures = client_pictures
        self._metrics = metrics or Metrics()
        self._taken: Counter[Hashable] = Counter()  # pictures of each client, not ended
        self._waiting: Counter[Hashable] = Counter()  # those of them that wait
        self._numbers = count()
        self._by_name: dict[tuple[bytes, int], Picture] = {}
        self._by_number: dict[int, Picture] = {}  # not ended
        self._kept: dict[Picture, None] = {}  # ended, the oldest first

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def running(self) -> Iterable[Picture]:
        """The pictures that have not ended, the oldest first."""
        return self._by_number.values()

    def start(
        self, key: bytes, image: int, order: Order, client: Hashable, owner: str | None = None
    ) -> Picture:
        """A new picture, or the known one of that name.

        Raises Refused: conflict, busy, or forbidden where it is another owner's.
        """
        name = (view_key(key), image)
        known = self._by_name.get(name)
        if known is not None:
            if known.owner != owner:
                raise Refused(
                    ErrorCode.FORBIDDEN, "this key names a picture of somebody else"
                )
            if not known.matches(order):
                raise Refused(
                    ErrorCode.CONFLICT,
                    "this key already names a picture of another prompt, seed, sampling or prefix",
                )
            return known
        queued = self.check_share(client)
        picture = Picture(next(self._numbers), name, order, self._clock().time(), client, owner)
        picture.queued = queued
        picture.ids += order.prefix
        picture.row_times += [picture.started] * picture.rows
        self._drawer.submit(picture.number, order.request(image), client)
        self._taken[client] += 1
        if queued:  # a count of 0 would stay for ever
            self._waiting[client] += 1
        self._by_name[name] = self._by_number[picture.number] = picture
        if self._elsewhere is not None:
            self._elsewhere.opened(picture)
        logger.info(
            "picture %d accepted: image %d of seed %d, %d of %d rows given",
            picture.number,
            image,
            order.seed,
            picture.rows,
            order.stop_row,
        )
        return picture

    def knows(self, key: bytes, image: int) -> bool:
        """True if a `start` of this key and image would draw nothing new."""
        return self.has((view_key(key), image))

    def check_share(self, client: Hashable) -> bool:
        """A free slot is for whoever comes. Of the queue a client has at most what it leaves to
        others (R-124), so that there is a place for who has none.

        True if it is a place in the queue. Raises Refused (busy).
        """
        slots, places = self._drawer.room
        share = slots > 0 or self._waiting[client] <= places
        taken = self._taken[client]
        if self._elsewhere is not None:
            taken += self._elsewhere.taken(client)
        if taken >= self._client_pictures or not share:
            raise Refused(
                ErrorCode.BUSY,
                f"{taken} of your pictures are being drawn or wait, which is your share",
                BUSY_RETRY_MS,
            )
        return slots == 0

    def _leave_queue(self, picture: Picture) -> None:
        if picture.queued:
            picture.queued = False
            _count_down(self._waiting, picture.client)

    def has(self, name: tuple[bytes, int]) -> bool:
        """True if there is such a picture."""
        return name in self._by_name

    def seek(self, name: tuple[bytes, int], then: Callable[[], None]) -> bool:
        """True if it has to be asked elsewhere whether there is such a picture; ``then`` is called
        once `find` can tell."""
        if self.has(name) or self._elsewhere is None:
            return False
        self._elsewhere.seek(name, then)
        return True

    def find(self, key: bytes, image: int, rows_held: int, crc32: int) -> Picture:
        """The picture to watch, if its first rows are those held. Raises Refused: gone."""
        picture = self._by_name.get((key, image))
        if picture is None:
            raise Refused(ErrorCode.GONE, "no such picture, or it has expired")
        if rows_held > picture.rows:
            raise Refused(ErrorCode.GONE, f"only {picture.rows} rows are drawn here")
        if ids_checksum(picture.ids[: rows_held * picture.order.row_bytes]) != crc32:
            raise Refused(ErrorCode.GONE, "the rows held are not those of this picture")
        return picture

    def attach(self, picture: Picture, wake: Callable[[], None]) -> None:
        """``wake`` is called, without arguments, whenever there may be something new."""
        picture.viewers.add(wake)
        if not picture.ended:
            self._stop_timer(picture)

    def detach(self, picture: Picture, wake: Callable[[], None]) -> None:
        """A viewer leaves; a picture that nobody watches gets its grace time."""
        picture.viewers.discard(wake)
        if not picture.viewers and not picture.ended:
            self._set_timer(picture, self._grace, self._end_by_grace)

    def cancel(self, picture: Picture, reason: DoneReason = DoneReason.CANCELLED) -> None:
        """End a picture for all its viewers; nothing happens if it has ended."""
        if picture.ended:
            return
        if not picture.is_mirror:
            self._drawer.cancel(picture.number)
        elif self._elsewhere is not None:
            self._elsewhere.left(picture, reason)
        self._end(picture, reason)

    def deliver(self, events: Iterable[EngineEvent]) -> None:
        """Append the engine's events to the logs, and wake the viewers."""
        for event in events:
            picture = self._by_number.get(event.picture)
            if picture is None:
                continue  # cancelled here while the engine was still drawing
            match event:
                case PicturePlaced():
                    self._place(picture, event.place)
                case RowDrawn():
                    assert event.row == picture.rows, "the engine sends rows in order"
                    width = picture.order.model.id_bytes
                    self._append(picture, event.ids.astype(f"<u{width}").tobytes())
                case PictureEnded(ending=Ending.DRAWN):
                    whole = picture.rows == picture.order.model.rows
                    self._end(picture, DoneReason.COMPLETE if whole else DoneReason.STOP_ROW)
                    continue
                case PictureEnded():
                    text = event.text or "drawing failed"
                    self._end(picture, Refused(ErrorCode.INTERNAL, text))
                    continue
            self._tell(picture)

    def mirror(
        self,
        name: tuple[bytes, int],
        order: Order,
        client: Hashable,
        owner: str | None,
        ids: bytes,
    ) -> Picture:
        """A picture that another gateway has drawn, as far as it is: `extend`, `place` and `finish`
        go on."""
        picture = Picture(next(self._numbers), name, order, self._clock().time(), client, owner)
        picture.is_mirror = True
        picture.ids += ids
        picture.row_times += [picture.started] * picture.rows
        self._by_name[name] = self._by_number[picture.number] = picture
        self._set_timer(picture, self._grace, self._end_by_grace)
        return picture

    def place(self, picture: Picture, place: int | None) -> None:
        """A mirrored picture's place in the queue; 0: it is drawn."""
        picture.place = place
        if place == 0 and picture.drawn_since is None:
            picture.drawn_since = self._clock().time()
        self._tell(picture)

    def extend(self, picture: Picture, first_row: int, ids: bytes) -> None:
        """Rows of a mirrored picture; those that it has are not taken again."""
        if first_row <= picture.rows:
            self._append(picture, ids[(picture.rows - first_row) * picture.order.row_bytes :])
            self._tell(picture)

    def finish(self, picture: Picture, reason: DoneReason | Refused) -> None:
        """The end of a mirrored picture."""
        if not picture.ended:
            self._end(picture, reason)

    def take_over(self, picture: Picture) -> None:
        """Have a mirrored picture drawn on from its rows: its gateway is lost. Raises Refused."""
        rest = replace(picture.order, prefix=bytes(picture.ids))
        self._drawer.submit(picture.number, rest.request(picture.name[1]), picture.client)
        picture.is_mirror = False
        picture.drawn_since = None
        self._taken[picture.client] += 1
        if self._elsewhere is not None:
            self._elsewhere.opened(picture)

    def _append(self, picture: Picture, ids: bytes) -> None:
        first_row = picture.rows
        picture.ids += ids
        for _ in range(first_row, picture.rows):
            self._time_row(picture)
        if self._elsewhere is not None and not picture.is_mirror:
            self._elsewhere.grown(picture, first_row)

    def _time_row(self, picture: Picture) -> None:
        now = self._clock().time()
        given = len(picture.order.prefix) // picture.order.row_bytes
        is_first = len(picture.row_times) == given
        before = picture.started if is_first else picture.row_times[-1]
        picture.row_times.append(now)
        self._metrics.row_drawn(now - before, is_first)

    def _place(self, picture: Picture, place: int) -> None:
        picture.place = place
        if self._elsewhere is not None:
            self._elsewhere.placed(picture)
        if place == 0 and picture.drawn_since is None:
            self._leave_queue(picture)
            picture.drawn_since = self._clock().time()
            picture.deadline = self._clock().call_later(
                self._deadline, self.cancel, picture, DoneReason.DEADLINE
            )

    def _end_by_grace(self, picture: Picture) -> None:
        """Nobody came back: end it and forget it, so that its rows can be taken up anew (R-39)."""
        self.cancel(picture)
        self._forget(picture)

    def _end(self, picture: Picture, reason: DoneReason | Refused) -> None:
        picture.reason = reason
        picture.place = 0
        self._leave_queue(picture)
        if not picture.is_mirror:
            _count_down(self._taken, picture.client)
            if self._elsewhere is not None:
                self._elsewhere.ended(picture)
        picture.ended_at = self._clock().time()
        del self._by_number[picture.number]
        logger.info("picture %d ended: %s", picture.number, picture.ending)
        if picture.deadline is not None:
            picture.deadline.cancel()
        self._set_timer(picture, self._keep, self._forget)
        self._kept[picture] = None
        if len(self._kept) > MAX_KEPT:
            self._forget(next(iter(self._kept)))
        self._tell(picture)

    def _forget(self, picture: Picture) -> None:
        self._stop_timer(picture)
        del self._kept[picture], self._by_name[picture.name]
        if self._elsewhere is not None and not picture.is_mirror:
            self._elsewhere.forgot(picture)

    def _set_timer(self, picture: Picture, delay: float, then: Callable[[Picture], None]) -> None:
        self._stop_timer(picture)
        picture.timer = self._clock().call_later(delay, then, picture)

    def _stop_timer(self, picture: Picture) -> None:
        if picture.timer is not None:
            picture.timer.cancel()

    def _tell(self, picture: Picture) -> None:
        for wake in tuple(picture.viewers):
            wake()


def _count_down(counter: Counter[Hashable], client: Hashable) -> None:
    counter[client] -= 1
    if not counter[client]:
        del counter[client]
