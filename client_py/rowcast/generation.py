"""The pictures of one request as they form, and what there is to tell of them.

A `Generation` hands out what arrived coalesced: whoever decodes slowly sees fewer, larger steps,
always of the newest state, and never a queue of stale ones. Knows nothing of frames or sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import RowcastError
from .messages import DoneReason
from .picture import Picture
from .requests import Request


@dataclass(frozen=True)
class Notice:
    """Something happened to picture number ``index`` of a generation."""

    index: int
    picture: Picture


@dataclass(frozen=True)
class AcceptedNotice(Notice):
    position: int


@dataclass(frozen=True)
class QueuedNotice(Notice):
    position: int


@dataclass(frozen=True)
class RowsNotice(Notice):
    """The rows of ``grid`` [rows held, cols] from ``first_row`` on are new."""

    first_row: int
    grid: NDArray[np.uint32]


@dataclass(frozen=True)
class DoneNotice(Notice):
    reason: DoneReason | int


@dataclass(eq=False)
class Slot:
    """One picture of a generation: its stream, and what has not been told yet."""

    generation: Generation
    index: int
    stream: int
    image: int
    picture: Picture | None = None
    told_rows: int = 0
    pending: deque[str] = field(default_factory=deque)  # kinds, at most one of each
    position: int = 0
    ended: bool = False

    def note(self, kind: str) -> None:
        if kind not in self.pending:
            self.pending.append(kind)
            self.generation.turn.append(self)
        self.generation.wake()


class Generation:
    """The pictures of one request, as they form.

    `take` hands out what is new, one notice at a time; ``wake`` is called when there may be more.
    """

    def __init__(self, request: Request, key: bytes, streams: range, watched: bytes | None) -> None:
        self.request = request
        self.key = key
        self.watched = watched  # the view key, where somebody else's pictures are watched
        self.wake: Callable[[], None] = lambda: None
        self.turn: deque[Slot] = deque()
        self.failure: RowcastError | None = None
        self.abandoned = False
        self.slots = [
            Slot(self, index, stream, request.first_image + index)
            for index, stream in enumerate(streams)
        ]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures accepted so far, with the rows they hold."""
        return tuple(slot.picture for slot in self.slots if slot.picture is not None)

    @property
    def ended(self) -> bool:
        return self.failure is not None or all(slot.ended for slot in self.slots)

    def fail(self, error: RowcastError) -> None:
        """End the generation with an error that carries what was received."""
        if not self.ended:
            error.pictures = self.pictures
            self.failure = error
            self.wake()

    def take(self) -> Notice | None:
        """The next notice, or None if nothing is new.

        Raises the generation's failure once everything that arrived before it has been taken.
        """
        while self.turn:
            slot = self.turn.popleft()
            kind = slot.pending.popleft()
            assert slot.picture is not None
            if kind == "accepted":
                return AcceptedNotice(slot.index, slot.picture, slot.position)
            if kind == "queued":
                return QueuedNotice(slot.index, slot.picture, slot.position)
            if kind == "rows":
                first, slot.told_rows = slot.told_rows, slot.picture.rows_held
                return RowsNotice(slot.index, slot.picture, first, slot.picture.grid)
            assert slot.picture.reason is not None
            return DoneNotice(slot.index, slot.picture, slot.picture.reason)
        if self.failure is not None:
            raise self.failure
        return None
