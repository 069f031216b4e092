"""The easel of one request: fills the images of its events, and decides what is decoded next.

A row is told as soon as it is known, painted by the palette; a better tier decodes beside it, one
decode at a time, always of the newest state, and brings `PictureRepainted`. A picture's end is told
when it is painted for good. Without a palette rows are told once they are decoded.

Both shells drive it, and it has no threads of its own: they run what `next_decode` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import ConnectionLost, DetokenizerError, RowcastError
from ..events import ENDS, Event, PictureRepainted
from ..generation import Generation
from .canvas import Canvas
from .loader import TierLoader
from .tiers import Tier


class Easel:
    """The events of ``generation``, with images; without, where ``loader`` is None.

    ``wake`` is called, from any thread, when there may be more to tell or to decode;
    ``is_decoding`` is True while a decode runs, or its pixels wait to be taken.
    """

    def __init__(
        self,
        generation: Generation,
        loader: TierLoader | None,
        seamless: bool,
        wake: Callable[[], None],
    ) -> None:
        self._generation = generation
        self._loader = loader
        self._seamless = seamless
        self._wake = wake
        self._canvases: dict[int, Canvas] = {}  # by index; a mosaic's, by each of its indexes
        self._waiting: list[Event] = []  # at most one that is no end, the last
        self.is_decoding = False
        self._decoded: Callable[[], None] | Exception | None = None  # puts pixels on a canvas
        self._turn = 0
        if loader is not None:
            if seamless:
                mosaic = Canvas(loader, len(generation.slots))
                self._canvases = dict.fromkeys(range(len(generation.slots)), mosaic)
            loader.go_on()
            loader.listeners.add(self._woken)

    @property
    def ended(self) -> bool:
        """True if all has been told."""
        return self._generation.ended and not self._generation.has_news and not self._waiting

    @property
    def is_busy(self) -> bool:
        """True if `wake` may be called though no frame arrives."""
        return self.is_decoding or (self._loader is not None and self._loader.is_loading)

    @property
    def _is_closed(self) -> bool:
        return self._loader is not None and self._loader.is_closed

    def close(self) -> None:
        """Wake nobody any more."""
        if self._loader is not None:
            self._loader.listeners.discard(self._woken)
        self._wake = lambda: None

    def next_event(self) -> Event | None:
        """The next event that can be told now; None if there is none.

        Raises the request's failure, DetokenizerError among others, once everything has been told
        that can be; it carries the pictures as far as they came.
        """
        try:
            self._take_decoded()
            return self._ready_event()
        except RowcastError as error:
            error.pictures = error.pictures or self._generation.pictures
            raise

    def next_decode(self) -> Callable[[], None] | None:
        """The next decode to run on the worker; None if none is due or one is running."""
        if self._loader is None or self.is_decoding or self._loader.is_closed:
            return None
        for event in self._waiting:
            canvas = self._canvas(self._loader, event)
            if tier := canvas.due(self._is_last(event)):
                return self._decode(self._loader, canvas, tier)
        for canvas in sorted(dict.fromkeys(self._canvases.values()), key=lambda each: each.turn):
            if tier := canvas.due(False):
                return self._decode(self._loader, canvas, tier)
        return None

    def _ready_event(self) -> Event | None:
        for event in self._waiting:
            if self._prepare(event):
                self._waiting.remove(event)
                return self._painted(event)
        for canvas in self._canvases.values():
            if canvas.is_repainted and canvas.newest is not None:
                return self._painted(PictureRepainted(canvas.newest.index, canvas.newest.picture))
        while self._is_closed or all(isinstance(each, ENDS) for each in self._waiting):
            taken = self._take()
            if taken is None:
                return None
            if self._prepare(taken):
                return self._painted(taken)
            self._waiting.append(taken)
        return None

    def _take(self) -> Event | None:
        """The generation's next event, without an image."""
        if self._generation.has_news or not self._waiting or self._is_closed:
            event = self._generation.take()
            if event is None and self._waiting:
                raise ConnectionLost("the client was closed before the picture was painted")
            return event
        return None  # a failure is told after the pictures that had ended before it

    def _prepare(self, event: Event) -> bool:
        """Paint what the palette can at once; True if the event's image is there."""
        if self._loader is None:
            return True
        canvas = self._canvas(self._loader, event)
        is_shown = canvas.show(event.index if self._seamless else 0, event.picture)
        if not self._is_last(event):
            return is_shown
        if canvas.is_final():
            return True
        self._loader.check_last()
        return False

    def _is_last(self, event: Event) -> bool:
        """True for an end that shows its canvas finished: in a mosaic, those after the last end."""
        if not isinstance(event, ENDS):
            return False
        return not self._seamless or all(slot.ended for slot in self._generation.slots)

    def _painted(self, event: Event) -> Event:
        """The event as it is told: with the image, which is then no news any more."""
        if self._loader is None:
            return replace(event, seamless=self._seamless)
        canvas = self._canvas(self._loader, event)
        canvas.newest, canvas.is_repainted = event, False
        if isinstance(event, ENDS) and not self._seamless:
            del self._canvases[event.index]
        return replace(event, image=canvas.image, tier=canvas.tier, seamless=self._seamless)

    def _canvas(self, loader: TierLoader, event: Event) -> Canvas:
        """The canvas that an event's picture is on."""
        if event.index not in self._canvases:
            self._canvases[event.index] = Canvas(loader)
        return self._canvases[event.index]

    def _decode(self, loader: TierLoader, canvas: Canvas, tier: Tier) -> Callable[[], None]:
        self.is_decoding = True
        self._turn += 1
        canvas.turn = self._turn

        def run() -> None:
            try:
                self._decoded = self._work(loader, canvas, tier)
            except Exception as error:  # in another thread: it is raised by `next_event`
                self._decoded = error
            self._woken()

        return run

    def _work(self, loader: TierLoader, canvas: Canvas, tier: Tier) -> Callable[[], None]:
        """Decode a canvas; returns the function that shows it. A tier that fails is dropped."""
        try:
            return canvas.work(tier)
        except DetokenizerError as error:
            loader.drop(tier, error)
            return lambda: None  # the next tier will be due

    def _take_decoded(self) -> None:
        decoded, self._decoded = self._decoded, None
        if decoded is None:
            return
        self.is_decoding = False
        if isinstance(decoded, Exception):
            raise decoded
        decoded()

    def _woken(self) -> None:
        self._wake()
