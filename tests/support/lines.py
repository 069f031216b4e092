"""A connection to a studio without a socket, and the messages of its pictures."""

from __future__ import annotations

from typing import Any

import pytest
from rowcast.messages import (
    Accepted,
    Done,
    DoneReason,
    Hello,
    Message,
    Options,
    Rows,
    ServerMessage,
    Start,
    Watch,
    decode_server,
    encode,
    ids_checksum,
    view_key,
)
from rowcast_server.clients import Clients, Visitor
from rowcast_server.errors import CloseConnection

from tests.support.fakes import KEY, MODEL, Studio, ids_of

HELLO = Hello(None, "a test")
VIEW = view_key(KEY)


class Line:
    """A connection to a studio, without a socket: messages in, messages out."""

    def __init__(
        self, studio: Studio, visitor: Visitor | None = None, clients: Clients | None = None
    ) -> None:
        self.woken = 0
        self._clock = studio.clock
        self.session = studio.session(self._wake, visitor, clients)

    def _wake(self) -> None:
        self.woken += 1

    def send(self, *messages: Message) -> None:
        """Raises CloseConnection, as the session does."""
        for message in messages:
            self.session.receive(encode(message))

    def read(self) -> list[ServerMessage]:
        """All that can be sent now."""
        frames = self.session.outgoing(self._clock.time())
        return [message for frame in frames if (message := decode_server(frame))]


def greeted(
    studio: Studio,
    visitor: Visitor | None = None,
    clients: Clients | None = None,
    token: str | None = None,
) -> Line:
    """A line that has had its welcome."""
    line = Line(studio, visitor, clients)
    line.send(Hello(token, "a test"))
    assert line.read() == [studio.welcome]
    return line


def start(stream: int = 0, images: int = 1, key: bytes = KEY, **options: Any) -> Start:
    return Start(stream, key, "a red boat", images, Options(seed=7, **options))


def watch(stream: int = 0, held: int = 0, image: int = 0) -> Watch:
    return Watch(stream, VIEW, image, held, ids_checksum(ids_of(image, 0, held)))


def accepted(stream: int = 0, image: int = 0, first_row: int = 0, position: int = 0) -> Accepted:
    return Accepted(stream, image, "tiny", MODEL.revision, 7, 4, 4, 2, first_row, position)


def rows(stream: int, first: int, last: int, image: int = 0) -> Rows:
    return Rows(stream, first, ids_of(image, first, last))


def done(
    stream: int, count: int, reason: DoneReason, image: int = 0, milliseconds: int = 0
) -> Done:
    return Done(stream, count, ids_checksum(ids_of(image, 0, count)), milliseconds, reason)


def closed_by(line: Line, *frames: bytes | str) -> int:
    """The close code with which the last of the frames is answered."""
    for frame in frames[:-1]:
        line.session.receive(frame)
    with pytest.raises(CloseConnection) as closed:
        line.session.receive(frames[-1])
    return int(closed.value.code)
