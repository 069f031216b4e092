"""The server's side of the protocol, without a socket: frames in, frames out.

There is no queue of rows: each viewer is a cursor into its picture's row log, read when the socket
can take more. A viewer that falls behind gets fewer, larger frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rowcast.errors import MalformedFrame
from rowcast.messages import (
    MAX_HELLO_BYTES,
    MAX_SERVER_FRAME_BYTES,
    MAX_STREAM,
    Accepted,
    Cancel,
    CloseCode,
    Done,
    DoneReason,
    Error,
    ErrorCode,
    GoAway,
    Hello,
    Ping,
    Pong,
    Queued,
    Rows,
    ServerMessage,
    Start,
    Watch,
    Welcome,
    decode_client,
    encode,
    ids_checksum,
)

from .access import Grant
from .admission import ServedModel, admit
from .clients import Clients, Visitor
from .errors import CloseConnection, Refused
from .jobs import JobBook
from .limits import Bucket
from .metrics import Metrics
from .picture import Viewer

logger = logging.getLogger(__name__)

MAX_PENDING_REPLIES: Final = 1_024
MESSAGES_AT_ONCE: Final = 2_000  # whatever the rate: a client may cancel all that it has
QUEUED_INTERVAL_SECONDS: Final = 1.0
ROWS_HEADER_BYTES: Final = 16


@dataclass(eq=False)
class ServerSession:
    """The protocol of one connection. ``wake`` is called when `outgoing` may have something new.

    ``clients`` has tokens and rates; ``visitor`` is who sent the request that opened it.
    """

    book: JobBook
    served: ServedModel
    welcome: Welcome
    clients: Clients
    visitor: Visitor
    wake: Callable[[], None]
    metrics: Metrics = field(default_factory=Metrics)
    grant: Grant | None = None  # from `hello` on
    _replies: list[ServerMessage] = field(default_factory=list)  # a deque is 700 bytes larger
    _notice: int | None = None  # milliseconds, as announced by `go_away`
    has_left: bool = False  # a `goaway` of 0 is out: the connection is to be closed
    _viewers: dict[int, Viewer] = field(default_factory=dict)
    _sought: dict[int, bool] = field(default_factory=dict)  # streams of `watch`; True: cancelled
    _messages: Bucket = field(init=False)

    def __post_init__(self) -> None:
        per_minute, now = self.clients.messages_per_minute, self.clients.clock()
        self._messages = Bucket(per_minute, max(per_minute, MESSAGES_AT_ONCE), now)

    def receive(self, frame: bytes | str) -> None:
        """Take one frame. Raises CloseConnection."""
        if isinstance(frame, str):
            raise CloseConnection(CloseCode.MALFORMED, "frames are binary")
        if self._messages.take(self.clients.clock()):
            raise CloseConnection(CloseCode.RATE_LIMITED, "too many messages")
        greeted = self.grant is not None
        limit = self.welcome.limits.client_frame_bytes if greeted else MAX_HELLO_BYTES
        if len(frame) > limit:
            raise CloseConnection(
                CloseCode.LIMIT, f"a frame of {len(frame)} bytes; at most {limit} are allowed"
            )
        try:
            message = decode_client(frame, limit)
        except MalformedFrame as error:
            raise CloseConnection(CloseCode.MALFORMED, str(error)) from error
        if not greeted and not isinstance(message, Hello):
            raise CloseConnection(CloseCode.BEFORE_HELLO, "the first message must be hello")
        match message:
            case None | Pong():
                pass  # unknown optional message
            case Hello():
                self._hello(message)
            case Start():
                self._start(message)
            case Watch():
                self._watch(message)
            case Cancel():
                self._cancel(message)
            case Ping():
                self._reply(Pong(message.echo))
        self.wake()

    @property
    def is_watched(self) -> bool:
        """True if a stream is open."""
        return bool(self._viewers)

    def go_away(self, milliseconds: int) -> None:
        """Announce that the connection will be closed in ``milliseconds``; no picture is begun from
        now on. Once the last open stream has ended, the time announced is 0."""
        self._notice = milliseconds
        if self.grant is not None:
            self._replies.append(GoAway(milliseconds))  # also where the replies are at their bound
        else:
            self.has_left = milliseconds == 0
        self.wake()

    def close(self) -> None:
        """End the session: its viewers leave their pictures, which go on for the grace time."""
        self._notice = None  # nobody is left to be told
        self._sought.clear()
        for viewer in list(self._viewers.values()):
            self._drop(viewer)

    def outgoing(self, now: float) -> Iterator[bytes]:
        """The frames that can be sent now, made one by one as the socket takes them."""
        progress = True
        while progress:  # round robin over the streams, until none has anything new
            while self._replies:
                reply = self._replies.pop(0)
                yield encode(reply)
                if reply == GoAway(0):
                    self.has_left = True
                    return
            progress = False
            for viewer in list(self._viewers.values()):
                if (message := self._next(viewer, now)) is not None:
                    progress = True
                    made = [encode(message)]
                    del message
                    yield made.pop()  # of 16 KiB, perhaps: it is not kept while it is sent

    def next_due(self, now: float) -> float | None:
        """Seconds until a held-back queue position may be told; None if none is held back."""
        waits = [self._place_wait(viewer, now) for viewer in self._viewers.values()]
        return min([wait for wait in waits if wait is not None], default=None)

    def _reply(self, message: ServerMessage) -> None:
        if len(self._replies) >= MAX_PENDING_REPLIES:
            raise CloseConnection(CloseCode.TOO_SLOW, "replies are not being read")
        self._replies.append(message)

    def _hello(self, hello: Hello) -> None:
        if self.grant is not None:
            raise CloseConnection(CloseCode.MALFORMED, "hello comes once")
        given = self.visitor.grant
        if hello.token is not None or given is None:
            given = self.clients.grant(hello.token, self.visitor.address)
        self.grant = given
        logger.info("hello from %r", hello.client)
        self._reply(self.welcome)

    def _start(self, start: Start) -> None:
        count = start.images if 1 <= start.images <= self.welcome.limits.images else 1
        if start.stream + count - 1 > MAX_STREAM:
            count = 1  # refused below, once
        streams = range(start.stream, start.stream + count)
        self._must_be_free(streams)
        assert self.grant is not None
        client = self.visitor.client(self.grant)
        try:
            if not self.grant.may_draw:
                raise Refused(
                    ErrorCode.FORBIDDEN, "this token may watch pictures, not draw"
                )
            self.clients.started(client)
            if self._notice is not None:
                raise Refused(
                    ErrorCode.BUSY,
                    "this server is about to stop; ask on another connection",
                    max(1, self._notice),
                )
            if len(self._viewers) + count > self.welcome.limits.streams:
                raise Refused(
                    ErrorCode.TOO_MANY_STREAMS,
                    f"at most {self.welcome.limits.streams} streams may be open at once",
                )
            if not self.book.knows(start.key, start.options.first_image):
                self.book.check_share(client)  # before the prompt is read, which takes longest
            order = admit(start, self.served, self.welcome.limits)
        except Refused as refusal:
            self._refuse(streams, refusal)
            return
        held = len(order.prefix) // order.row_bytes
        for index, stream in enumerate(streams):
            try:
                image = start.options.first_image + index
                picture = self.book.start(start.key, image, order, client, self.grant.subject)
            except Refused as refusal:
                self._refuse(range(stream, stream + 1), refusal)
            else:
                self._attach(Viewer(stream, picture, is_owner=True, cursor=held))

    def _watch(self, watch: Watch) -> None:
        self._must_be_free(range(watch.stream, watch.stream + 1))
        self.clients.check_failures(self.visitor.address)
        name = watch.view_key, watch.image
        if self.book.seek(name, lambda: self._found(watch)):
            self._sought[watch.stream] = False
        else:
            self._watch_known(watch)

    def _found(self, watch: Watch) -> None:
        """It has been asked elsewhere, and whatever there is `book.find` finds now."""
        cancelled = self._sought.pop(watch.stream, None)
        if cancelled is None:
            return  # the session was closed meanwhile
        with suppress(CloseConnection):  # at its limits; the next message is told
            self._watch_known(watch)
        if cancelled and watch.stream in self._viewers:
            self._viewers[watch.stream].left = True
        self.wake()

    def _watch_known(self, watch: Watch) -> None:
        assert self.grant is not None
        try:
            if len(self._viewers) >= self.welcome.limits.streams:
                raise Refused(ErrorCode.TOO_MANY_STREAMS, "too many streams are open")
            picture = self.book.find(watch.view_key, watch.image, watch.rows_held, watch.crc32)
            if not self.grant.may_watch and picture.owner != self.grant.subject:
                raise Refused(ErrorCode.FORBIDDEN, "this token may watch its own pictures alone")
        except Refused as refusal:
            if refusal.code == ErrorCode.GONE:
                self.clients.missed(self.visitor.address)
            self._refuse(range(watch.stream, watch.stream + 1), refusal)
        else:
            self._attach(Viewer(watch.stream, picture, is_owner=False, cursor=watch.rows_held))

    def _cancel(self, cancel: Cancel) -> None:
        viewer = self._viewers.get(cancel.stream)
        if cancel.stream in self._sought:
            self._sought[cancel.stream] = True
        if viewer is None:
            return  # it has ended; done and cancel crossed
        if viewer.is_owner:
            self.book.cancel(viewer.picture)
        else:
            viewer.left = True

    def _must_be_free(self, streams: range) -> None:
        for stream in streams:
            if stream in self._viewers or stream in self._sought:
                raise CloseConnection(CloseCode.DUPLICATE_STREAM, f"stream {stream} is open")

    def _refuse(self, streams: range, refusal: Refused) -> None:
        self.metrics.refused(refusal.code)
        for stream in streams:
            self._reply(_error(stream, refusal))

    def _attach(self, viewer: Viewer) -> None:
        self._viewers[viewer.stream] = viewer
        self.book.attach(viewer.picture, self.wake)

    def _next(self, viewer: Viewer, now: float) -> ServerMessage | None:
        """The first message that this viewer lacks; state is read anew for each."""
        picture, model = viewer.picture, viewer.picture.order.model
        if self._viewers.get(viewer.stream) is not viewer:
            return None
        if not viewer.accepted:
            if picture.place is None and not (picture.ended or viewer.left):
                return None  # position 0 would say that drawing begins; the engine will tell
            viewer.accepted = True
            viewer.place, viewer.place_told = picture.place or 0, now
            return Accepted(
                viewer.stream,
                picture.name[1],
                model.name,
                model.revision,
                picture.order.seed,
                model.rows,
                model.cols,
                model.id_bytes,
                viewer.cursor,
                viewer.place,
                picture.order.text_cut,
                picture.order.text_lost,
            )
        if viewer.left:
            return self._finish(viewer, DoneReason.LEFT, now)
        rows = picture.rows
        if viewer.cursor < rows:
            viewer.place = 0  # the rows tell that drawing has begun
        if self._place_wait(viewer, now) == 0:
            viewer.place, viewer.place_told = picture.place or 0, now
            return Queued(viewer.stream, viewer.place)
        if viewer.cursor < rows:
            row_bytes = picture.order.row_bytes
            most = (MAX_SERVER_FRAME_BYTES - ROWS_HEADER_BYTES) // row_bytes
            first, last = viewer.cursor, min(rows, viewer.cursor + most)
            self.metrics.rows_sent(last - first, max(0.0, now - picture.row_times[first]))
            viewer.cursor = last
            ids = bytes(picture.ids[first * row_bytes : last * row_bytes])
            return Rows(viewer.stream, first, ids)
        if isinstance(picture.reason, Refused):
            self._drop(viewer)
            return _error(viewer.stream, picture.reason)
        return None if picture.reason is None else self._finish(viewer, picture.reason, now)

    def _place_wait(self, viewer: Viewer, now: float) -> float | None:
        """Seconds until this viewer's place may be told; None if it has been told."""
        if viewer.place == viewer.picture.place or not viewer.accepted or viewer.picture.ended:
            return None
        if viewer.picture.place == 0:
            return 0.0  # drawing begins: it is told at once
        return max(0.0, viewer.place_told + QUEUED_INTERVAL_SECONDS - now)

    def _finish(self, viewer: Viewer, reason: DoneReason, now: float) -> Done:
        self._drop(viewer)
        picture = viewer.picture
        rows = min(viewer.cursor, picture.rows)
        checksum = ids_checksum(picture.ids[: rows * picture.order.row_bytes])
        # `now` is as old as the drain: a picture may have been started since.
        ended = max(now, picture.started) if picture.ended_at is None else picture.ended_at
        return Done(viewer.stream, rows, checksum, round((ended - picture.started) * 1000), reason)

    def _drop(self, viewer: Viewer) -> None:
        del self._viewers[viewer.stream]
        if not any(other.picture is viewer.picture for other in self._viewers.values()):
            self.book.detach(viewer.picture, self.wake)
        if self._notice and not self._viewers:
            self.go_away(0)


def _error(stream: int, refusal: Refused) -> Error:
    return Error(stream, refusal.code, refusal.retry_ms, refusal.text)
