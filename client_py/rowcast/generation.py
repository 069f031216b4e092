"""The pictures of one request as they form: the messages that ask for them, and their events.

A `Generation` hands out what arrived coalesced: whoever decodes slowly sees fewer, larger steps,
always of the newest state, and never a queue of stale ones. Knows nothing of frames or sockets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from .errors import ProtocolError, RequestRefused, RowcastError
from .events import (
    Event,
    PictureAccepted,
    PictureDone,
    PictureFailed,
    PictureQueued,
    RowsArrived,
)
from .messages import Accepted, Done, DoneReason, Model, Start, Watch, done_reason, view_key
from .picture import Picture, sampling_options
from .requests import Request

# More of the wait that a busy server asks for: its clients do not come back as one.
MOST_EXTRA_WAIT: Final = 0.25


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
    is_answered: bool = False  # by `accepted`, on this connection
    is_put_off: bool = False  # by a server that is busy: it is asked again later
    error: RequestRefused | None = None  # its end, where it failed

    @property
    def picture(self) -> Picture:
        """The picture; only for one that was accepted."""
        assert self.begun is not None
        return self.begun

    @property
    def is_own(self) -> bool:
        """True if we asked for it: then we know what was asked for."""
        return self.generation.watched is None

    @property
    def rows_asked(self) -> int:
        """Rows that were asked for: those of `stop_row`, or all of the grid."""
        return self.generation.request.options.stop_row or self.picture.recipe.rows

    @property
    def holds_all(self) -> bool:
        """True if all rows that were asked for have arrived."""
        return self.begun is not None and self.begun.rows_held >= self.rows_asked

    def resume_message(self) -> Start | Watch:
        """The message that takes up this unfinished picture on a new socket."""
        if self.is_own and not self.holds_all:
            # As its owner: a known picture is attached to, an unknown one drawn on.
            return self._restart_message()
        return self.watch_message()

    def watch_message(self) -> Watch:
        """A `watch` of the picture, from the rows that it holds on."""
        generation, picture = self.generation, self.begun
        key = generation.view_key
        held, checksum = (0, 0) if picture is None else (picture.rows_held, picture.checksum)
        return Watch(self.stream, key, self.image, held, checksum)

    def _restart_message(self) -> Start:
        """A `start` of this picture alone, with the rows it holds as prefix (R-43)."""
        generation, picture = self.generation, self.begun
        options = msgspec.structs.replace(generation.request.options, first_image=self.image)
        if picture is None:  # but others of its request were accepted: the seed is theirs
            options = msgspec.structs.replace(options, seed=generation.pictures[0].recipe.seed)
        else:
            options = msgspec.structs.replace(
                options,
                model=picture.recipe.model,
                seed=picture.recipe.seed,
                prefix=picture.held_bytes or None,
                revision=picture.recipe.revision,
                **sampling_options(picture.recipe.sampling),
            )
        return Start(self.stream, generation.key, generation.request.prompt, 1, options)

    def begin(self, picture: Picture) -> None:
        """Take the picture that was accepted; rows that it holds already are no news."""
        self.begun, self.told_rows = picture, picture.rows_held

    def accept(self, position: int) -> None:
        """Tell that the server took the picture, for the first time or again."""
        self.is_answered, self.position = True, position
        self.generation.tell(self._accepted)

    def queue(self, position: int) -> None:
        """Tell the picture's new place in the queue."""
        self.position = position
        self.generation.tell(self._queued)

    def add_rows(self, first_row: int, ids: bytes) -> None:
        """Append rows, and tell. Raises ProtocolError as `Picture.add_rows`, or for too many."""
        self.picture.add_rows(first_row, ids)
        if self.is_own and self.picture.rows_held > self.rows_asked:
            raise ProtocolError(
                f"{self.picture.rows_held} rows, where {self.rows_asked} were asked for"
            )
        self.generation.put_off_since = None
        self.generation.tell(self._rows)

    def finish(self, reason: DoneReason | int) -> None:
        """Tell the end."""
        self.picture.reason = reason
        self.generation.tell(self._done)

    def fail(self, error: RequestRefused) -> None:
        """Tell that the picture, which has ended, failed."""
        self.error = error
        if self.begun is not None:
            self.generation.tell(self._failed)
        else:
            self.generation.wake()

    def put_off(self, now: float, wait: float, patience: tuple[float, float]) -> bool:
        """Wait out a refusal that names a time, ``wait`` seconds; False where it is told.

        ``patience`` is the longest wait in all where no picture has begun, and where one has. It
        begins anew with rows, and where nothing was put off for as long; `accepted` is no progress.
        """
        generation = self.generation
        longest = patience[bool(generation.pictures)]
        since = generation.put_off_since
        if since is None or now > generation.put_off_until + longest:
            since = now
        is_over = now + wait > since + longest
        if not wait or is_over or generation.ended or generation.abandoned:
            return False
        wait *= random.uniform(1, 1 + MOST_EXTRA_WAIT)
        generation.put_off_since = since
        generation.put_off_until = max(generation.put_off_until, now + wait)
        self.is_put_off = True
        return True

    def check_begin(self, accepted: Accepted, model: Model, default: str) -> None:
        """Raise ProtocolError where `accepted` is not what was asked for and announced.

        ``model`` is the announced one of its name, ``default`` the name of the server's first.
        """
        expected: dict[str, object] = {"image": self.image}
        expected |= {name: getattr(model, name) for name in ("rows", "cols", "id_bytes")}
        if self.is_own:
            options, others = self.generation.request.options, self.generation.pictures
            seed = others[0].recipe.seed if others else options.seed  # one seed for all
            asked = {"seed": seed, "revision": options.revision, "model": options.model or default}
            expected |= {name: value for name, value in asked.items() if value is not None}
        for name, value in expected.items():
            if getattr(accepted, name) != value:
                raise ProtocolError(f"{name} {getattr(accepted, name)!r} instead of {value!r}")

    def check_resumed(self, accepted: Accepted) -> None:
        """Raise ProtocolError where `accepted` goes on with another picture than the one held."""
        picture = self.picture
        for name in ("model", "revision", "image", "seed", "rows", "cols", "id_bytes"):
            if getattr(accepted, name) != getattr(picture.recipe, name):
                raise ProtocolError(f"the server went on with another {name}")
        if accepted.first_row != picture.rows_held:
            raise ProtocolError(f"row {accepted.first_row} follows; {picture.rows_held} are held")
        if self.is_answered:
            raise ProtocolError(f"stream {self.stream} was accepted twice")

    def check_end(self, done: Done) -> None:
        """Raise ProtocolError for an end that is not what it says (R-29)."""
        picture, rows = self.picture, self.picture.recipe.rows
        if (done.rows, done.crc32) != (picture.rows_held, picture.checksum):
            raise ProtocolError(
                f"the picture ended with {done.rows} rows and crc32 {done.crc32:08x};"
                f" {picture.rows_held} rows, {picture.checksum:08x} arrived"
            )
        if (done.reason == DoneReason.COMPLETE and done.rows != rows) or (
            done.reason == DoneReason.STOP_ROW and self.is_own and done.rows != self.rows_asked
        ):
            raise ProtocolError(
                f"the picture ended as {done_reason(done.reason)} with {done.rows} rows, "
                f"where {self.rows_asked} were asked for"
            )

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

    def _failed(self) -> Event:
        assert self.error is not None
        return PictureFailed(self.index, self.picture, self.error)


class Generation:
    """The pictures of one request, as they form.

    `take` hands out the events, without images; ``wake`` is called when there may be more.
    """

    def __init__(self, request: Request, key: bytes, streams: range, watched: bytes | None) -> None:
        self.request = request
        self.key = key
        self.watched = watched  # the view key, where somebody else's pictures are watched
        self.wake: Callable[[], None] = lambda: None
        self._failure: RowcastError | None = None
        self.abandoned = False
        # While the server is busy: when it first said so, and when it is asked again.
        self.put_off_since: float | None = None
        self.put_off_until = 0.0
        self.slots = [
            Slot(self, index, stream, request.options.first_image + index)
            for index, stream in enumerate(streams)
        ]
        self._news: dict[Callable[[], Event], None] = {}  # a queue, at most one of a kind and slot

    @property
    def view_key(self) -> bytes:
        """By which its pictures can be watched."""
        return self.watched or view_key(self.key)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures accepted so far, with the rows they hold."""
        return tuple(slot.begun for slot in self.slots if slot.begun is not None)

    @property
    def ended(self) -> bool:
        """True if nothing more will arrive; there may still be news to take."""
        return self._failure is not None or all(slot.ended for slot in self.slots)

    @property
    def failure(self) -> RowcastError | None:
        """What it is to raise: its own failure, or, once all have ended, the first picture's."""
        if self._failure is not None or not self.ended:
            return self._failure
        return next((slot.error for slot in self.slots if slot.error is not None), None)

    @property
    def unended(self) -> list[Slot]:
        """The slots whose pictures have not ended."""
        return [slot for slot in self.slots if not slot.ended]

    @property
    def is_unanswered(self) -> bool:
        """True if nobody knows whether the `start` of own pictures has arrived."""
        return self.watched is None and not self.pictures

    @property
    def retry_time(self) -> float | None:
        """The time at which what was put off is asked for again; None if nothing is.

        A request of which nothing was accepted is asked for as one, once all of it was put off.
        """
        put_off = [slot.is_put_off for slot in self.unended]
        is_due = all(put_off) if self.is_unanswered else any(put_off)
        return self.put_off_until if put_off and is_due else None

    def start_message(self) -> Start:
        """The `start` of all pictures; the same again draws nothing twice (R-41)."""
        request, stream = self.request, self.slots[0].stream
        return Start(stream, self.key, request.prompt, request.images, request.options)

    def resume_messages(self) -> list[Start | Watch]:
        """The messages that take up all unfinished pictures on a new socket.

        But for those that were put off: their time comes.
        """
        if self.is_unanswered:
            if not any(slot.is_put_off for slot in self.unended):
                return [self.start_message()]
            for slot in self.unended:  # asked for again as one
                slot.is_put_off = True
        return [slot.resume_message() for slot in self.unended if not slot.is_put_off]

    def retry_messages(self) -> list[Start | Watch]:
        """The messages that ask again for what was put off."""
        put_off = [slot for slot in self.unended if slot.is_put_off]
        for slot in put_off:
            slot.is_put_off = slot.is_answered = False
        if self.is_unanswered:
            return [self.start_message()]
        return [slot.resume_message() for slot in put_off]

    @property
    def has_news(self) -> bool:
        """True if `take` has an event."""
        return bool(self._news)

    def tell(self, make: Callable[[], Event]) -> None:
        """Queue an event, unless it is queued already: then it will tell the newest state."""
        self._news.setdefault(make)
        self.wake()

    def fail(self, error: RowcastError) -> None:
        """End the generation with an error; raised, it carries what was received."""
        if not self.ended:
            self._failure = error
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
        failure = self.failure
        if failure is not None:
            failure.pictures = self.pictures
            raise failure
        return None
