"""What one client of a server may see: each frame of a stream is held against the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rowcast.messages import (
    Accepted,
    Done,
    DoneReason,
    Error,
    ErrorCode,
    GoAway,
    Hello,
    Pong,
    Queued,
    Rows,
    ServerMessage,
    Welcome,
    decode_server,
    ids_checksum,
)
from rowcast_server.access import Grant
from rowcast_server.picture import Picture

from tests.support.fakes import ids_of
from tests.support.lines import Line

ROW_BYTES = 8  # of the studio's model
ROWS = 4


@dataclass
class Stream:
    """A stream as its client knows it: what was asked for, and what has come."""

    number: int
    image: int
    name: tuple[bytes, int]  # view key, image
    first_row: int
    is_own: bool
    picture: Picture | None  # of the server, as it was when it was asked; None if there was none
    stop_row: int = ROWS
    accepted: bool = False
    held: bytes = b""
    told: float = float("-inf")
    cancelled: bool = False


@dataclass
class WatchedLine:
    """A connection, and all that came by it."""

    line: Line
    grant: Grant
    greeted: bool = False
    streams: dict[int, Stream] = field(default_factory=dict)  # open, as the client knows
    echoes: list[int] = field(default_factory=list)
    notices: list[int] = field(default_factory=list)
    frames: Iterator[bytes] | None = None  # of a drain that goes on

    def say_hello(self) -> None:
        self.line.send(Hello(None, "a machine"))

    def read(self, now: float, most: int, prefixes: dict[int, bytes]) -> None:
        """Take so many frames of what the server has. ``prefixes`` are the rows that pictures were
        given, by their numbers."""
        for _ in range(most):
            if self.frames is None:
                self.frames = self.line.session.outgoing(now)
            frame = next(self.frames, None)
            if frame is None:
                self.frames = None
                return
            message = decode_server(frame)
            assert message is not None
            self._take(message, now, prefixes)

    def _take(self, message: ServerMessage, now: float, prefixes: dict[int, bytes]) -> None:
        if not self.greeted:
            assert isinstance(message, Welcome), message
            self.greeted = True
            return
        match message:
            case Welcome():
                raise AssertionError("a second welcome")
            case Pong():
                assert message.echo == self.echoes.pop(0)
            case GoAway():
                assert message.milliseconds in (0, *self.notices)
            case Error(stream=None):
                raise AssertionError(message)
            case Accepted() | Queued() | Rows() | Done() | Error():
                assert message.stream in self.streams, f"{message} on a stream that is not open"
                self._of_stream(self.streams[message.stream or 0], message, now, prefixes)

    def _of_stream(
        self,
        stream: Stream,
        message: Accepted | Queued | Rows | Done | Error,
        now: float,
        prefixes: dict[int, bytes],
    ) -> None:
        if isinstance(message, Error):
            assert (message.retry_ms > 0) == (message.code == ErrorCode.BUSY), message
            assert not stream.accepted or message.code == ErrorCode.INTERNAL, message
            del self.streams[stream.number]
            return
        picture = stream.picture
        assert picture is not None, f"{message}, of a picture that there is not"
        self._may(stream, picture)
        truth = rows_of(picture, prefixes)
        if isinstance(message, Accepted):
            assert not stream.accepted, "accepted twice"
            assert (message.image, message.first_row) == (stream.image, stream.first_row)
            stream.accepted, stream.told = True, now
            stream.held = truth[: stream.first_row * ROW_BYTES]
            return
        assert stream.accepted, f"{message} before accepted"
        held = len(stream.held) // ROW_BYTES
        match message:
            case Queued():
                assert now - stream.told >= 1 or message.position == 0, "told too often"
                stream.told = now
            case Rows():
                assert message.first_row == held, message
                stream.held += message.ids
                assert stream.held == truth[: len(stream.held)], "rows of another picture"
                assert len(stream.held) <= picture.order.stop_row * ROW_BYTES
            case Done():
                assert (message.rows, message.crc32) == (held, ids_checksum(stream.held))
                assert (message.reason == DoneReason.COMPLETE) <= (held == ROWS)
                assert (message.reason == DoneReason.STOP_ROW) <= (held == picture.order.stop_row)
                assert (message.reason == DoneReason.LEFT) <= (
                    stream.cancelled and not stream.is_own
                )
                del self.streams[stream.number]

    def _may(self, stream: Stream, picture: Picture) -> None:
        """Nothing of a picture comes to who may not see it (R-122, R-126)."""
        is_mine = picture.owner == self.grant.subject
        if stream.is_own:
            assert is_mine, "drawn for another"
            assert self.grant.may_draw
        else:
            assert is_mine or self.grant.may_watch, "watched without the right"


def rows_of(picture: Picture, prefixes: dict[int, bytes]) -> bytes:
    """What a picture's rows are, all of them: those it was given, and the fake engine's."""
    prefix = prefixes[picture.number]
    return prefix + ids_of(picture.name[1], len(prefix) // ROW_BYTES, ROWS)
