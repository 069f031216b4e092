"""A session's frames in and out: the greeting, what is no message, what has a limit."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from rowcast.messages import (
    Accepted,
    Cancel,
    Error,
    GoAway,
    Hello,
    Limits,
    Ping,
    Pong,
    Start,
    Welcome,
    encode,
)
from rowcast_server.config import ServerConfig
from rowcast_server.errors import CloseConnection
from rowcast_server.session import MAX_PENDING_REPLIES

from tests.support.fakes import KEY, MODEL, Studio
from tests.support.lines import (
    HELLO,
    Line,
    accepted,
    closed_by,
    greeted,
    start,
    watch,
)


class TestHello:
    def test_welcome_is_the_first_frame_and_comes_once(self, studio: Studio) -> None:
        line = Line(studio)
        assert line.read() == []
        line.send(HELLO, Ping(1))
        assert line.read() == [studio.welcome, Pong(1)]
        assert line.read() == []

    def test_start_watch_cancel_and_ping_may_follow_at_once(self, studio: Studio) -> None:
        line = Line(studio)
        line.send(HELLO, start(), watch(1), Cancel(9), Ping(5))
        studio.drawer.place(0)
        assert line.read() == [studio.welcome, Pong(5), accepted(0), accepted(1)]

    @pytest.mark.parametrize("first", [start(), watch(), Cancel(0), Ping(0), Pong(0)])
    def test_anything_before_hello_is_closed(self, studio: Studio, first: Any) -> None:
        assert closed_by(Line(studio), encode(first)) == 4401
        assert len(studio.book) == 0

    def test_an_unknown_optional_message_before_hello_is_closed(self, studio: Studio) -> None:
        assert closed_by(Line(studio), msgpack.packb([32])) == 4401

    def test_a_second_hello_is_closed(self, studio: Studio) -> None:
        assert closed_by(Line(studio), encode(HELLO), encode(HELLO)) == 4400

    @pytest.mark.parametrize("token", [None, "", "wrong", "letmei", "letmein "])
    def test_a_token_that_is_not_known_gets_nothing(
        self, studio: Studio, token: str | None
    ) -> None:
        line = Line(studio, clients=studio.clients_of(ServerConfig(tokens=frozenset({"letmein"}))))
        assert closed_by(line, encode(Hello(token, ""))) == 4403
        assert line.read() == []
        assert closed_by(line, encode(start())) == 4401

    def test_a_token_that_is_known_is_admitted(self, studio: Studio) -> None:
        line = Line(studio, clients=studio.clients_of(ServerConfig(tokens=frozenset({"letmein"}))))
        line.send(Hello("letmein", ""))
        assert line.read() == [studio.welcome]

    def test_a_long_hello_is_closed(self, studio: Studio) -> None:
        long = msgpack.packb([0, "t" * 1_024, "c" * 128, "x" * 1_000])
        assert len(long) > 2_048
        assert closed_by(Line(studio), long) == 4413


class TestFrames:
    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"\xc1",
            b"\x90",
            b"\xc0",
            b"\x80",
            msgpack.packb({0: 2}),
            msgpack.packb([9]),
            msgpack.packb([9, -1]),
            msgpack.packb([9, 2**32]),
            msgpack.packb([9, "1"]),
            msgpack.packb([9, True]),
            msgpack.packb([9, 1]) + b"\x00",
            msgpack.packb([11]),
            msgpack.packb([31, 1]),
            msgpack.packb([-1]),
            msgpack.packb([2**40, b"x"])[:-1],
            msgpack.packb(["9", 1]),
            msgpack.packb([1, []]),
            msgpack.packb([4, 0, 0, bytes(8)]),
            msgpack.packb([7, 65_536]),
            msgpack.packb([2, 0, KEY[:-1], "a", 1]),
            msgpack.packb([2, 0, KEY, b"a", 1]),
            msgpack.packb([2, 0, KEY, "a", 1.0]),
            msgpack.packb([2, 0, KEY, "a", 1, {}]),
            msgpack.packb([2, 0, KEY, "a", 1, [None, 2**63]]),
            msgpack.packb([2, 0, KEY, "a", 1, [None, None, None]]),
            b"\x95\x02\x00\xc4\x10" + KEY + b"\xa2\xff\xfe\x01",
            b"\xdd\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff\x09\x01",
            b"\x92\x09\xc6\xff\xff\xff\xff",
            b"\x92\x00\xdb\x7f\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\x91" * 4_000,
            b"\x92\x09" * 2_000,
            b"\x93\x09\x01" + b"\x91" * 4_000,
            "text",
        ],
    )
    def test_what_is_no_message_is_closed(self, studio: Studio, frame: bytes | str) -> None:
        """R-2, R-3, R-5, R-7, R-8, R-11, R-12."""
        assert closed_by(greeted(studio), frame) == 4400

    def test_random_bytes_are_closed_or_ignored(self, studio: Studio) -> None:
        chance = random.Random(3)
        codes = set()
        for _ in range(2_000):
            try:
                greeted(studio).session.receive(chance.randbytes(chance.randrange(1, 64)))
            except CloseConnection as closed:
                codes.add(int(closed.code))
        assert codes == {4400}
        assert len(studio.book) == 0

    def test_the_limit_of_a_frame_is_the_announced_one(self, studio: Studio) -> None:
        limit = studio.welcome.limits.client_frame_bytes
        line = greeted(studio)
        padding = limit - len(msgpack.packb([9, 1, bytes(1_000)])) + 1_000
        largest = msgpack.packb([9, 1, bytes(padding)])
        assert len(largest) == limit
        line.session.receive(largest)
        assert line.read() == [Pong(1)]
        assert closed_by(line, largest + b"\x00") == 4413

    @pytest.mark.parametrize("tag", [32, 33, 255, 2**31])
    def test_unknown_optional_messages_are_ignored(self, studio: Studio, tag: int) -> None:
        line = greeted(studio)
        line.session.receive(msgpack.packb([tag, {"any": [1, None, b"x"]}]))
        assert line.read() == []

    def test_extra_elements_are_ignored(self, studio: Studio) -> None:
        line = greeted(studio)
        line.session.receive(msgpack.packb([2, 0, KEY, "a", 1, [None] * 2 + [0] + [None] * 9, 5]))
        studio.drawer.place(0)
        (answer,) = line.read()
        assert isinstance(answer, Accepted)

    def test_ping_is_answered_and_pong_is_not(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(Ping(2**32 - 1), Pong(3))
        assert line.read() == [Pong(2**32 - 1)]

    def test_replies_that_nobody_reads_are_bounded(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(*[Ping(number) for number in range(MAX_PENDING_REPLIES)])
        assert closed_by(line, encode(Ping(0))) == 4508

    def test_a_goaway_is_told_even_to_whom_reads_nothing(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(*[Ping(number) for number in range(MAX_PENDING_REPLIES)])
        line.session.go_away(500)
        assert line.read()[-1] == GoAway(500)

    def test_goaway_says_when_and_only_to_whom_was_welcomed(self, studio: Studio) -> None:
        line, silent = greeted(studio), Line(studio)
        for each in (line, silent):
            each.session.go_away(1_500)
        assert line.read() == [GoAway(1_500)]
        assert silent.read() == []


def test_a_prompt_as_long_as_a_large_frame_is_refused_on_its_stream() -> None:
    """10,000 characters: no malformed frame where a larger one is admitted, but too long."""
    limits = Limits(16_384, 1_024, 16, 64, 0, 0)
    studio = Studio(welcome=Welcome(limits, [MODEL]))
    line = greeted(studio)
    line.send(Start(0, KEY, "x" * 10_000, 1))
    (answer,) = line.read()
    assert isinstance(answer, Error)
    assert answer.code == "bad_prompt"
    assert closed_by(greeted(Studio()), encode(Start(0, KEY, "x" * 10_000, 1))) == 4413
