"""The pictures of one request as they form, and the events there are to tell of them.

A `Generation` hands out what arrived coalesced: whoever decodes slowly sees fewer, larger steps,
always of the newest state, and never a queue of stale ones. Knows nothing of frames or sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import RowcastError
from .events import Event, PictureAccepted, PictureDone, PictureQueued, RowsArrived
from .messages import DoneReason
from .picture import Picture
from .requests import Request


@dataclass(eq=False)
class Slot:
    """One picture of a generation: its stream, its state, and how many of its rows were told."""

    generation: Generation
    index: int
    stream: int
    image: int
    position: int = 0
    ended: bool = False
    begun: Picture | None = None  # once it is accepted
    told_rows: int = 0

    @property
    def picture(self) -> Picture:
        """The picture; only for one that was accepted."""
        assert self.begun is not None
        return self.begun

    def begin(self, picture: Picture) -> None:
        """Take the picture that was accepted; rows that it holds already are no news."""
        self.begun, self.told_rows = picture, picture.rows_held

    def accept(self, position: int) -> None:
        """Tell that the server took the picture, for the first time or again."""
        self.position = position
        self.generation.tell(self._accepted)

    def queue(self, position: int) -> None:
        """Tell the picture's new place in the queue."""
        self.position = position
        self.generation.tell(self._queued)

    def add_rows(self, first_row: int, ids: bytes) -> None:
        """Append rows, and tell. Raises ProtocolError as `Picture.add_rows`."""
        self.picture.add_rows(first_row, ids)
        self.generation.tell(self._rows)

    def finish(self, reason: DoneReason | int) -> None:
        """Tell the end."""
        self.picture.reason = reason
        self.generation.tell(self._done)

    # Events are made when they are taken, of the newest state.

    def _accepted(self) -> Event:
        return PictureAccepted(self.index, self.picture, self.position)

    def _queued(self) -> Event:
        return PictureQueued(self.index, self.picture, self.position)

    def _rows(self) -> Event:
        first, self.told_rows = self.told_rows, self.picture.rows_held
        return RowsArrived(self.index, self.picture, first, self.picture.grid[first:])

    def _done(self) -> Event:
        assert self.picture.reason is not None
        return PictureDone(self.index, self.picture, self.picture.reason)


class Generation:
    """The pictures of one request, as they form.

    `take` hands out the events, without images; ``wake`` is called when there may be more.
    """

    def __init__(self, request: Request, key: bytes, streams: range, watched: bytes | None) -> None:
        self.request = request
        self.key = key
        self.watched = watched  # the view key, where somebody else's pictures are watched
        self.wake: Callable[[], None] = lambda: None
        self.failure: RowcastError | None = None
        self.abandoned = False
        self.slots = [
            Slot(self, index, stream, request.options.first_image + index)
            for index, stream in enumerate(streams)
        ]
        self._news: dict[Callable[[], Event], None] = {}  # a queue, at most one of a kind and slot

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures accepted so far, with the rows they hold."""
        return tuple(slot.begun for slot in self.slots if slot.begun is not None)

    @property
    def ended(self) -> bool:
        """True if nothing more will arrive; there may still be news to take."""
        return self.failure is not None or all(slot.ended for slot in self.slots)

    @property
    def has_news(self) -> bool:
        """True if `take` has an event."""
        return bool(self._news)

    def tell(self, make: Callable[[], Event]) -> None:
        """Queue an event, unless it is queued already: then it will tell the newest state."""
        self._news.setdefault(make)
        self.wake()

    def fail(self, error: RowcastError) -> None:
        """End the generation with an error that carries what was received."""
        if not self.ended:
            error.pictures = self.pictures
            self.failure = error
            self.wake()

    def abandon(self) -> None:
        """Wake nobody any more: nobody takes events."""
        self.abandoned = True
        self.wake = lambda: None
        self._news.clear()

    def take(self) -> Event | None:
        """The next event, or None if nothing is new.

        Raises the generation's failure once everything that arrived before it has been taken.
        """
        for make in self._news:
            del self._news[make]
            return make()
        if self.failure is not None:
            raise self.failure
        return None
