"""A picture as the book keeps it: its row log, and how it came to be."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from rowcast.messages import DoneReason

from .admission import Order
from .errors import Refused


class Timer(Protocol):
    def cancel(self) -> None: ...


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
    is_mirror: bool = False  # another gateway of the cluster has it drawn
    row_times: list[float] = field(default_factory=list)  # when each row was drawn, or given

    @property
    def rows(self) -> int:
        return len(self.ids) // self.order.row_bytes

    @property
    def ended(self) -> bool:
        return self.reason is not None

    @property
    def ending(self) -> str:
        """How it ended, for the log: prompts are not logged, nor keys."""
        reason = self.reason
        assert reason is not None
        assert self.ended_at is not None
        how = reason.code if isinstance(reason, Refused) else reason.name.lower()
        drawn_since = self.ended_at if self.drawn_since is None else self.drawn_since
        waited, drawn = drawn_since - self.started, self.ended_at - drawn_since
        return f"{how}, {self.rows} rows, waited {waited:.2f} s, drawn in {drawn:.2f} s"

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


@dataclass(eq=False)
class Viewer:
    """One stream of a connection: a cursor into a picture's row log."""

    stream: int
    picture: Picture
    is_owner: bool
    cursor: int  # rows sent, or held by the client
    accepted: bool = False
    place: int = 0  # as last told
    place_told: float = float("-inf")
    left: bool = False
