"""The book of pictures: a row log per image, a cursor per viewer, grace times and expiry.

A picture belongs to no connection: it is named by (view key, image), grows by whole rows, and any
number of viewers read its log at their own pace. Knows neither sockets nor threads; time comes from
the clock it is given, so that tests can turn it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

from rowcast.messages import DoneReason, ErrorCode, ids_checksum, view_key

from .admission import Order
from .engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)
from .errors import BUSY_RETRY_MS, Refused
from .metrics import Metrics

logger = logging.getLogger(__name__)

MAX_KEPT: Final = 32_768  # pictures that have ended, some 4 KB each; beyond it the oldest go early


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an asyncio loop the book needs."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer: ...


class Drawer(Protocol):
    """The engine as the book sees it (bridge.py)."""

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        """Raises Refused when the queue is full."""

    def cancel(self, picture: int) -> None: ...

    @property
    def room(self) -> tuple[int, int]:
        """Slots, and places in the queue, that are free."""


@dataclass(eq=False)
class Picture:
    """A picture's row log: ``ids`` grows by whole rows, little-endian, and is never rewritten."""

    number: int
    name: tuple[bytes, int]  # view key, image
    order: Order
    started: float
    client: Hashable = None  # whose share of the queue it takes
    owner: str | None = None  # the subject of who started it; None where no token is asked for
    ids: bytearray = field(default_factory=bytearray)
    place: int | None = None  # in the queue; 0: drawn, or ended; None until the engine tells
    reason: DoneReason | Refused | None = None  # of its end; Refused: it failed
    ended_at: float | None = None
    viewers: set[Callable[[], None]] = field(default_factory=set)
    timer: Timer | None = None  # grace while it forms, expiry once it has ended
    drawn_since: float | None = None  # None while it waits
    queued: bool = False  # it takes a place in the queue, so far
    deadline: Timer | None = None
    row_times: list[float] = field(default_factory=list)  # when each row was drawn, or given

    @property
    def rows(self) -> int:
        return len(self.ids) // self.order.row_bytes

    @property
    def ended(self) -> bool:
        return self.reason is not None

    def matches(self, order: Order) -> bool:
        """True if a repeated `start` asks for this very picture (R-22)."""
        mine = self.order
        settings = order.prompt, order.sampling, order.stop_row
        if (mine.prompt, mine.sampling, mine.stop_row) != settings:
            return False
        if order.seed_was_given and order.seed != mine.seed:
            return False
        given = order.prefix
        if self.ended and len(given) > len(self.ids):
            return False
        both = min(len(given), len(self.ids))
        return given[:both] == self.ids[:both]


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
    ) -> None:
        self._drawer = drawer
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
        return (view_key(key), image) in self._by_name

    def check_share(self, client: Hashable) -> bool:
        """A free slot is for whoever comes. Of the queue a client has at most what it leaves to
        others (R-124), so that there is a place for who has none.

        True if it is a place in the queue. Raises Refused (busy).
        """
        slots, places = self._drawer.room
        share = slots > 0 or self._waiting[client] <= places
        if self._taken[client] >= self._client_pictures or not share:
            raise Refused(
                ErrorCode.BUSY,
                f"{self._taken[client]} of your pictures are being drawn or wait, "
                "which is your share",
                BUSY_RETRY_MS,
            )
        return slots == 0

    def _leave_queue(self, picture: Picture) -> None:
        if picture.queued:
            picture.queued = False
            _count_down(self._waiting, picture.client)

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
        if not picture.ended:
            self._drawer.cancel(picture.number)
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
                    picture.ids += event.ids.astype(f"<u{width}").tobytes()
                    self._time_row(picture)
                case PictureEnded(ending=Ending.DRAWN):
                    whole = picture.rows == picture.order.model.rows
                    self._end(picture, DoneReason.COMPLETE if whole else DoneReason.STOP_ROW)
                    continue
                case PictureEnded():
                    text = event.text or "drawing failed"
                    self._end(picture, Refused(ErrorCode.INTERNAL, text))
                    continue
            self._tell(picture)

    def _time_row(self, picture: Picture) -> None:
        now = self._clock().time()
        is_first = len(picture.ids) == len(picture.order.prefix) + picture.order.row_bytes
        before = picture.started if is_first else picture.row_times[-1]
        picture.row_times.append(now)
        self._metrics.row_drawn(now - before, is_first)

    def _place(self, picture: Picture, place: int) -> None:
        picture.place = place
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
        _count_down(self._taken, picture.client)
        picture.ended_at = self._clock().time()
        del self._by_number[picture.number]
        logger.info("picture %d ended: %s", picture.number, _ending(picture))
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


def _ending(picture: Picture) -> str:
    """How a picture ended, for the log. Prompts are not logged, nor keys."""
    reason = picture.reason
    assert reason is not None
    assert picture.ended_at is not None
    how = reason.code if isinstance(reason, Refused) else reason.name.lower()
    drawn_since = picture.ended_at if picture.drawn_since is None else picture.drawn_since
    waited, drawn = drawn_since - picture.started, picture.ended_at - drawn_since
    return f"{how}, {picture.rows} rows, waited {waited:.2f} s, drawn in {drawn:.2f} s"
