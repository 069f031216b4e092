"""From the notices of one request to its events: what can be told at once, what is to be decoded.

A row is told as soon as it is known, painted by the palette; what decodes better does so beside it,
one decode at a time, always of the newest state, and brings `PictureRepainted`. A picture's end is
told when it is painted for good. Without a palette rows are told once they are decoded.

Both shells drive it, and it has no threads of its own: they run what `next_decode` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConnectionLost, DetokenizerError, RowcastError
from ..events import (
    Event,
    PictureAccepted,
    PictureDone,
    PictureQueued,
    PictureRepainted,
    RowsArrived,
)
from ..generation import (
    AcceptedNotice,
    DoneNotice,
    Generation,
    Notice,
    QueuedNotice,
    RowsNotice,
)
from .canvas import MosaicView, PictureView, View
from .loader import Painter
from .tiers import Tier


class Easel:
    """The events of ``generation``; ``painter`` None: without pixels.

    ``wake`` is called, from any thread, when there may be more to tell or to decode.
    """

    def __init__(
        self,
        generation: Generation,
        painter: Painter | None,
        seamless: bool,
        wake: Callable[[], None],
    ) -> None:
        self._generation = generation
        self._painter = painter
        self._seamless = seamless
        self._wake = wake
        self._mosaic: MosaicView | None = None
        self._views: dict[int, View] = {}
        self._waiting: list[Notice] = []  # at most one that is no end, the last
        self._repainted: dict[int, Notice] = {}  # by view: what is to be told of it
        self._newest: dict[int, Notice] = {}  # by view: the last that was told
        self._running = False
        self._result: tuple[View | None, Any] | Exception | None = None
        self._turn = 0
        self._end_listening: Callable[[], None] = lambda: None
        if painter is not None:
            if seamless:
                self._mosaic = MosaicView(painter, len(generation.slots))
            painter.go_on()
            self._end_listening = painter.listen(self._woken)

    @property
    def ended(self) -> bool:
        """Whether all has been told."""
        return self._generation.ended and not self._generation.turn and not self._waiting

    @property
    def is_decoding(self) -> bool:
        return self._running

    @property
    def is_busy(self) -> bool:
        """Whether `wake` may be called though no frame arrives."""
        return self._running or (self._painter is not None and self._painter.is_loading)

    @property
    def _is_closed(self) -> bool:
        return self._painter is not None and self._painter.is_closed

    def close(self) -> None:
        """Wake nobody any more."""
        self._end_listening()
        self._wake = lambda: None

    def next_event(self) -> Event | None:
        """The next event that can be told now; None if there is none.

        Raises what the request failed with, DetokenizerError among it, once everything has been
        told that can be; it carries the pictures as far as they came.
        """
        try:
            self._take_result()
            return self._ready_event()
        except RowcastError as error:
            error.pictures = error.pictures or self._generation.pictures
            raise

    def next_decode(self) -> Callable[[], None] | None:
        """The decode that is due, to be run beside; None if there is none, or one runs."""
        if self._painter is None or self._running or self._painter.is_closed:
            return None
        for notice in self._waiting:
            view = self._view(notice)
            if tier := view.due(isinstance(notice, DoneNotice) and self._is_last(notice)):
                return self._decode(view, tier)
        for view in sorted({id(v): v for v in self._views.values()}.values(), key=_turn):
            if tier := view.due(False):
                return self._decode(view, tier)
        return None

    def _ready_event(self) -> Event | None:
        for notice in self._waiting:
            if self._is_ready(notice):
                self._waiting.remove(notice)
                return self._event(notice)
        if self._repainted:
            _, notice = self._repainted.popitem()
            view = self._view(notice)
            return PictureRepainted(
                notice.index,
                notice.picture,
                view.image,
                seamless=self._seamless,
                tier=view.tier,
            )
        while self._is_closed or all(isinstance(each, DoneNotice) for each in self._waiting):
            taken = self._take_notice()
            if taken is None:
                return None
            if self._is_ready(taken):
                return self._event(taken)
            self._waiting.append(taken)
        return None

    def _take_notice(self) -> Notice | None:
        if self._generation.turn or not self._waiting or self._is_closed:
            notice = self._generation.take()
            if notice is None and self._waiting:
                raise ConnectionLost("the client was closed before the picture was painted")
            return notice
        return None  # a failure is told after the pictures that had ended before it

    def _is_ready(self, notice: Notice) -> bool:
        """Whether the image that belongs to a notice is there; paints what can be at once."""
        if self._painter is None:
            return True
        view = self._view(notice)
        is_shown = view.show(notice.index, notice.picture)
        if not isinstance(notice, DoneNotice) or not self._is_last(notice):
            return is_shown
        if view.is_final():
            return True
        self._painter.check_last()
        return False

    def _is_last(self, end: DoneNotice) -> bool:
        """Whether an end is to show its picture finished: in a mosaic, the last ones alone."""
        return not self._seamless or all(slot.ended for slot in self._generation.slots)

    def _event(self, notice: Notice) -> Event:
        index, picture, image, tier = notice.index, notice.picture, None, None
        if self._painter is not None:
            view = self._view(notice)
            image, tier = view.image, view.tier
            self._repainted.pop(id(view), None)
            self._newest[id(view)] = notice
        more: dict[str, Any] = {"seamless": self._seamless, "tier": tier}
        match notice:
            case AcceptedNotice():
                return PictureAccepted(index, picture, image, notice.position, **more)
            case QueuedNotice():
                return PictureQueued(index, picture, image, notice.position, **more)
            case RowsNotice():
                new = notice.grid[notice.first_row :]
                return RowsArrived(index, picture, image, notice.first_row, new, **more)
            case DoneNotice():
                if not self._seamless and self._painter is not None:
                    self._newest.pop(id(self._views.pop(index)), None)
                return PictureDone(index, picture, image, notice.reason, **more)
            case _:
                raise AssertionError(f"no event for {notice}")

    def _view(self, notice: Notice) -> View:
        assert self._painter is not None
        view = self._views.get(notice.index)
        if view is None:
            view = self._mosaic or PictureView(self._painter, notice.picture)
            self._views[notice.index] = view
        return view

    def _decode(self, view: View, tier: Tier) -> Callable[[], None]:
        self._running = True
        self._turn += 1
        view.turn = self._turn

        def run() -> None:
            try:
                self._result = self._work(view, tier)
            except Exception as error:  # in another thread: it is raised by `next_event`
                self._result = error
            self._woken()

        return run

    def _work(self, view: View, tier: Tier) -> tuple[View | None, Any]:
        """The view's pixels; without them the next tier is asked, for this one fails."""
        assert self._painter is not None
        try:
            return view, view.work(tier)
        except DetokenizerError as error:
            self._painter.drop(tier, error)
            return None, None

    def _take_result(self) -> None:
        result, self._result = self._result, None
        if result is None:
            return
        self._running = False
        if isinstance(result, Exception):
            raise result
        view, pixels = result
        if view is None:
            return
        view.take(pixels)
        if id(view) in self._newest:
            self._repainted[id(view)] = self._newest[id(view)]

    def _woken(self) -> None:
        self._wake()


def _turn(view: View) -> int:
    return view.turn
