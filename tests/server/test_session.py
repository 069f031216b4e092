"""The server's side of the protocol, rule by rule, without a socket or an engine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from msgspec import structs
from rowcast.messages import (
    MAX_SERVER_FRAME_BYTES,
    MAX_STREAM,
    Accepted,
    Cancel,
    Done,
    DoneReason,
    Error,
    GoAway,
    Hello,
    Limits,
    Model,
    Options,
    Ping,
    Pong,
    Queued,
    Rows,
    Start,
    Watch,
    Welcome,
    encode,
    ids_checksum,
    view_key,
)
from rowcast_server.errors import CloseConnection
from rowcast_server.session import MAX_PENDING_REPLIES

from tests.support.fakes import KEY, LIMITS, MODEL, Line, Studio, ids_of

HELLO = Hello(None, "a test")
VIEW = view_key(KEY)


@pytest.fixture
def studio() -> Studio:
    return Studio()


def greeted(studio: Studio, client: str = "a client") -> Line:
    """A line that has had its welcome."""
    line = Line(studio, client)
    line.send(HELLO)
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
        line = Line(studio, tokens=frozenset({"letmein"}))
        assert closed_by(line, encode(Hello(token, ""))) == 4403
        assert line.read() == []
        assert closed_by(line, encode(start())) == 4401

    def test_a_token_that_is_known_is_admitted(self, studio: Studio) -> None:
        line = Line(studio, tokens=frozenset({"letmein"}))
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


class TestStart:
    def test_a_picture_from_accepted_to_done(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0)
        assert line.read() == [accepted()]
        for row in range(3):
            studio.drawer.draw(0)
            assert line.read() == [rows(0, row, row + 1)]
        studio.clock.advance(2.5)
        studio.drawer.draw(0)
        assert line.read() == [rows(0, 3, 4), done(0, 4, DoneReason.COMPLETE, milliseconds=2_500)]
        assert line.read() == []

    def test_a_prompt_that_is_too_long_is_cut_and_said_to_be(self, studio: Studio) -> None:
        line = greeted(studio)
        # A token a letter, and one a word.
        line.send(Start(0, KEY, "at sea " * 20, 1, Options(seed=7)))
        studio.drawer.place(0)
        (answer,) = line.read()
        assert isinstance(answer, Accepted)
        assert answer.text_cut == 20 * (3 + 4) + 2 - 64
        assert answer == structs.replace(accepted(), text_cut=answer.text_cut)

    def test_every_change_wakes_the_line(self, studio: Studio) -> None:
        line, other = greeted(studio), greeted(studio)
        changes: list[Callable[[], None]] = [
            lambda: line.send(start()),
            lambda: studio.drawer.place(0),
            lambda: studio.drawer.draw(0, 1),
            lambda: other.send(start(), Cancel(0)),
        ]
        for change in changes:
            before = line.woken
            change()
            assert line.woken > before

    def test_images_go_to_streams_in_order_and_share_a_seed(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(10, images=3, first_image=4))
        for number in range(3):
            studio.drawer.place(number)
        assert line.read() == [accepted(10 + j, 4 + j) for j in range(3)]

    def test_the_last_streams_there_are_can_be_opened(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(MAX_STREAM - 1, images=2))
        for number in range(2):
            studio.drawer.place(number)
        assert line.read() == [accepted(MAX_STREAM - 1, 0), accepted(MAX_STREAM, 1)]

    def test_streams_do_not_wait_for_each_other(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(0, images=2))
        studio.drawer.draw(1, 4)
        assert line.read() == [
            accepted(1, 1),
            rows(1, 0, 4, image=1),
            done(1, 4, DoneReason.COMPLETE, image=1),
        ]
        studio.drawer.draw(0, 4)
        assert line.read()[-1] == done(0, 4, DoneReason.COMPLETE)

    def test_stop_row_ends_a_picture_early(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(stop_row=2))
        studio.drawer.draw(0, 2)
        assert line.read() == [accepted(), rows(0, 0, 2), done(0, 2, DoneReason.STOP_ROW)]

    def test_a_prefix_is_not_sent_back_but_counted(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(prefix=ids_of(0, 0, 2)))
        studio.drawer.draw(0, 2)
        assert line.read() == [
            accepted(first_row=2),
            rows(0, 2, 4),
            done(0, 4, DoneReason.COMPLETE),
        ]

    def test_the_same_key_attaches_from_the_first_row(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 2)
        line.read()
        other = greeted(studio)
        other.send(start(5))
        assert other.read() == [accepted(5), rows(5, 0, 2)]
        assert len(studio.drawer.requests) == 1

    def test_the_same_key_attaches_from_the_first_row_not_in_the_prefix(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 3)
        other = greeted(studio)
        other.send(start(prefix=ids_of(0, 0, 2)))
        assert other.read() == [accepted(first_row=2), rows(0, 2, 3)]

    def test_a_prefix_ahead_of_the_picture_waits_for_it(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 1)
        other = greeted(studio)
        other.send(start(prefix=ids_of(0, 0, 2)))
        assert other.read() == [accepted(first_row=2)]
        studio.drawer.draw(0, 1)
        assert other.read() == []
        studio.drawer.draw(0, 2)
        assert other.read() == [rows(0, 2, 4), done(0, 4, DoneReason.COMPLETE)]

    def test_the_same_key_after_the_end_gets_the_same_end(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 4)
        before = line.read()
        line.send(start())
        assert line.read() == [before[0], rows(0, 0, 4), before[-1]]

    def test_the_same_key_with_another_prompt_is_a_conflict(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(), Start(1, KEY, "a blue boat", 1, Options(seed=7)))
        (answer,) = line.read()
        assert isinstance(answer, Error)
        assert (answer.stream, answer.code, answer.retry_ms) == (1, "conflict", 0)

    def test_an_open_stream_cannot_be_opened_again(self, studio: Studio) -> None:
        for again in (start(1, key=bytes(16)), watch(1), start(0, images=2, key=bytes(16))):
            line = greeted(studio)
            line.send(start(1))
            assert closed_by(line, encode(again)) == 4409

    def test_a_stream_is_free_again_after_its_end(self, studio: Studio) -> None:
        line = greeted(studio)
        for number in range(3):
            line.send(start(0, key=bytes([number] * 16)))
            studio.drawer.draw(number, 4)
            assert isinstance(line.read()[-1], Done)
            line.send(Start(0, KEY, "", 1))
            assert isinstance(line.read()[-1], Error)

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            (Start(3, KEY, "", 1), "bad_prompt"),
            (Start(3, KEY, "x" * 2_000, 1), "bad_prompt"),
            (Start(3, KEY, "a", 1, Options(seed=-1)), "bad_seed"),
            (Start(3, KEY, "a", 1, Options(temperature=0)), "bad_sampling"),
            (Start(3, KEY, "a", 1, Options(stop_row=0)), "bad_stop_row"),
            (Start(3, KEY, "a", 1, Options(prefix=b"\x00")), "bad_prefix"),
            (Start(3, KEY, "a", 1, Options(model="mega")), "unknown_model"),
            (Start(3, KEY, "a", 1, Options(revision=bytes(8))), "wrong_revision"),
        ],
    )
    def test_an_applications_mistake_is_told_on_its_stream_and_hurts_no_other(
        self, studio: Studio, wrong: Start, code: str
    ) -> None:
        line = greeted(studio)
        line.send(start(0), wrong)
        studio.drawer.draw(0, 1)
        error, *others = line.read()
        assert isinstance(error, Error)
        assert (error.stream, error.code, error.retry_ms) == (3, code, 0)
        assert others == [accepted(), rows(0, 0, 1)]

    def test_an_error_is_told_once_for_each_stream_that_there_is(self, studio: Studio) -> None:
        for images, stream, told in (
            (3, 5, [5, 6, 7]),
            (16, 0, list(range(16))),
            (17, 5, [5]),
            (0, 5, [5]),
            (-3, 5, [5]),
            (1_000, 5, [5]),
            (2, MAX_STREAM, [MAX_STREAM]),
            (16, MAX_STREAM - 3, [MAX_STREAM - 3]),
        ):
            line = greeted(studio)
            line.send(Start(stream, KEY, "", images))
            assert [getattr(answer, "stream", None) for answer in line.read()] == told

    def test_more_streams_than_admitted_are_refused(self, studio: Studio) -> None:
        line = greeted(studio)
        for group in range(4):
            line.send(start(16 * group, images=16, key=bytes([group] * 16)))
        line.send(start(64, key=bytes([9] * 16)), watch(65))
        assert [getattr(answer, "code", "") for answer in line.read()] == ["too_many_streams"] * 2
        studio.drawer.draw(0, 4)
        line.read()
        line.send(start(64, key=bytes([9] * 16)))
        studio.drawer.place(64)
        assert line.read() == [accepted(64)]

    def test_a_full_queue_is_busy_with_a_time_to_wait(self) -> None:
        studio = Studio(capacity=2)
        line = greeted(studio)
        line.send(start(0, images=4))
        told = [(a.stream, a.code, a.retry_ms) for a in line.read() if isinstance(a, Error)]
        assert told == [(2, "busy", 2_000), (3, "busy", 2_000)]
        studio.drawer.draw(0, 4)
        line.send(start(2, first_image=2))
        studio.drawer.draw(max(studio.drawer.requests), 1)
        assert rows(2, 0, 1, image=2) in line.read()

    def test_a_failure_of_the_engine_ends_the_stream(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 1)
        studio.drawer.fail(0, "out of memory")
        assert line.read() == [
            accepted(),
            rows(0, 0, 1),
            Error(0, "internal", 0, "out of memory"),
        ]
        line.send(Cancel(0))
        assert line.read() == []


class TestQueue:
    def test_accepted_waits_until_the_place_is_known(self, studio: Studio) -> None:
        """Position 0 would say that drawing begins."""
        line = greeted(studio)
        line.send(start())
        assert line.read() == []
        studio.drawer.place(0, 3)
        assert line.read() == [accepted(position=3)]

    def test_a_change_of_place_is_told_at_most_once_a_second(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0, 5)
        assert line.read() == [accepted(position=5)]
        studio.drawer.place(0, 4)
        assert line.read() == []
        assert line.session.next_due(studio.clock.time()) == pytest.approx(1.0)
        studio.drawer.place(0, 3)
        studio.clock.advance(1.0)
        assert line.session.next_due(studio.clock.time()) == 0
        assert line.read() == [Queued(0, 3)]
        studio.clock.advance(10)
        assert line.session.next_due(studio.clock.time()) is None
        assert line.read() == []
        studio.drawer.place(0, 0)
        assert line.read() == [Queued(0, 0)]

    def test_a_place_that_came_back_is_not_told(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0, 2)
        line.read()
        studio.drawer.place(0, 1)
        studio.drawer.place(0, 2)
        studio.clock.advance(5)
        assert line.read() == []

    def test_rows_do_not_wait_for_the_second(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0, 1)
        line.read()
        studio.drawer.draw(0, 1)
        assert line.read() == [rows(0, 0, 1)]
        studio.clock.advance(1)
        assert line.read() == [Queued(0, 0)]

    def test_a_waiting_picture_that_is_cancelled_is_not_told_to_be_drawn(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0, 2)
        line.read()
        studio.clock.advance(5)
        line.send(Cancel(0))
        assert line.read() == [done(0, 0, DoneReason.CANCELLED, milliseconds=5_000)]

    def test_an_ended_picture_has_position_0(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.place(0, 2)
        line.read()
        line.send(Cancel(0), watch(1))
        assert line.read() == [
            done(0, 0, DoneReason.CANCELLED),
            accepted(1, position=0),
            done(1, 0, DoneReason.CANCELLED),
        ]


class TestWatch:
    @pytest.mark.parametrize("held", [0, 1, 3])
    def test_watching_gets_every_row_from_those_held_on(
        self, studio: Studio, held: int
    ) -> None:
        greeted(studio).send(start())
        studio.drawer.draw(0, 3)
        viewer = greeted(studio)
        viewer.send(watch(2, held))
        drawn = [rows(2, held, 3)] if held < 3 else []
        assert viewer.read() == [accepted(2, first_row=held), *drawn]
        studio.drawer.draw(0, 1)
        assert viewer.read() == [rows(2, 3, 4), done(2, 4, DoneReason.COMPLETE)]

    @pytest.mark.parametrize(
        "wrong",
        [
            Watch(2, VIEW, 0, 1, 12_345),
            Watch(2, VIEW, 0, 2, ids_checksum(ids_of(0, 0, 1))),
            Watch(2, VIEW, 0, 4, ids_checksum(ids_of(0, 0, 4))),
            Watch(2, VIEW, 1, 0, 0),
            Watch(2, KEY, 0, 0, 0),
        ],
        ids=["wrong crc", "crc of fewer rows", "more rows than drawn", "image", "the owner's key"],
    )
    def test_what_cannot_be_answered_in_full_is_gone(self, studio: Studio, wrong: Watch) -> None:
        greeted(studio).send(start())
        studio.drawer.draw(0, 3)
        viewer = greeted(studio)
        viewer.send(wrong)
        (answer,) = viewer.read()
        assert isinstance(answer, Error)
        assert (answer.stream, answer.code, answer.retry_ms) == (2, "gone", 0)

    def test_two_viewers_on_one_connection_each_get_everything(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(0), watch(1))
        studio.drawer.draw(0, 4)
        answers = line.read()
        for stream in (0, 1):
            mine = [a for a in answers if getattr(a, "stream", None) == stream]
            assert mine == [
                accepted(stream),
                rows(stream, 0, 4),
                done(stream, 4, DoneReason.COMPLETE),
            ]

    def test_one_of_two_viewers_on_a_connection_leaves_and_the_other_goes_on(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(start(0), watch(1), Cancel(1))
        studio.drawer.place(0)
        line.read()
        studio.clock.advance(100)
        assert studio.drawer.cancelled == [], "somebody still watches"
        before = line.woken
        studio.drawer.draw(0, 4)
        assert line.woken > before
        assert line.read() == [
            rows(0, 0, 4),
            done(0, 4, DoneReason.COMPLETE, milliseconds=100_000),
        ]

    def test_a_picture_whose_two_viewers_on_one_connection_are_lost_gets_its_grace(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(start(0), watch(1))
        line.session.close()
        studio.clock.advance(31)
        assert studio.drawer.cancelled == [0]

    def test_a_lost_line_is_woken_no_more(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(0), watch(1))
        line.session.close()
        before = line.woken
        studio.drawer.draw(0, 1)
        assert line.woken == before

    def test_a_watched_picture_outlives_its_owners_line(self, studio: Studio) -> None:
        owner, viewer = greeted(studio), greeted(studio)
        owner.send(start())
        viewer.send(watch())
        owner.session.close()
        studio.clock.advance(100)
        studio.drawer.draw(0, 4)
        assert viewer.read()[-1] == done(0, 4, DoneReason.COMPLETE, milliseconds=100_000)


class TestCancel:
    def test_the_owners_cancel_ends_it_for_all(self, studio: Studio) -> None:
        owner, viewer = greeted(studio), greeted(studio)
        owner.send(start())
        viewer.send(watch(4))
        studio.drawer.draw(0, 2)
        owner.read()
        owner.send(Cancel(0))
        assert owner.read() == [done(0, 2, DoneReason.CANCELLED)]
        assert viewer.read() == [accepted(4), rows(4, 0, 2), done(4, 2, DoneReason.CANCELLED)]
        assert studio.drawer.cancelled == [0]

    def test_a_viewers_cancel_only_leaves(self, studio: Studio) -> None:
        owner, viewer = greeted(studio), greeted(studio)
        owner.send(start())
        viewer.send(watch(4))
        studio.drawer.draw(0, 2)
        viewer.read()
        studio.drawer.draw(0, 1)
        studio.clock.advance(0.5)
        viewer.send(Cancel(4))
        assert viewer.read() == [done(4, 2, DoneReason.LEFT, milliseconds=500)]
        studio.drawer.draw(0, 1)
        assert viewer.read() == []
        assert owner.read()[-1] == done(0, 4, DoneReason.COMPLETE, milliseconds=500)

    def test_leaving_a_picture_younger_than_a_drain_is_told_in_whole_milliseconds(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(Ping(1))
        outgoing = line.session.outgoing(studio.clock.time())
        next(outgoing)  # and the socket takes its time
        studio.clock.advance(1)
        greeted(studio).send(start())
        line.send(watch(4), Cancel(4))
        assert list(outgoing) == [encode(accepted(4)), encode(done(4, 0, DoneReason.LEFT))]

    def test_a_viewer_may_leave_before_anything_was_sent(self, studio: Studio) -> None:
        owner, viewer = greeted(studio), greeted(studio)
        owner.send(start())
        viewer.send(watch(4), Cancel(4))
        assert viewer.read() == [accepted(4), done(4, 0, DoneReason.LEFT)]

    def test_an_owner_may_cancel_before_anything_was_sent(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(), Cancel(0))
        assert line.read() == [accepted(), done(0, 0, DoneReason.CANCELLED)]

    def test_a_cancel_that_comes_too_late_is_ignored(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 4)
        line.send(Cancel(0))  # before the end was sent
        assert line.read()[-1] == done(0, 4, DoneReason.COMPLETE)
        line.send(Cancel(0), Cancel(77))  # after it, and of no stream at all
        assert line.read() == []

    def test_twice_is_once(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(), Cancel(0), Cancel(0))
        assert [type(answer) for answer in line.read()] == [Accepted, Done]

    def test_whoever_has_the_key_is_owner_on_any_line(self, studio: Studio) -> None:
        first, second = greeted(studio), greeted(studio)
        first.send(start())
        second.send(start(9), Cancel(9))
        assert second.read()[-1] == done(9, 0, DoneReason.CANCELLED)
        assert first.read()[-1] == done(0, 0, DoneReason.CANCELLED)


class TestPace:
    def test_a_viewer_that_reads_late_gets_fewer_and_larger_frames(self, studio: Studio) -> None:
        quick, slow = greeted(studio), greeted(studio)
        quick.send(start())
        slow.send(watch())
        frames = 0
        for _ in range(4):
            studio.drawer.draw(0, 1)
            frames += sum(isinstance(answer, Rows) for answer in quick.read())
        assert frames == 4
        assert slow.read() == [accepted(), rows(0, 0, 4), done(0, 4, DoneReason.COMPLETE)]

    def test_rows_drawn_while_a_frame_is_being_sent_go_with_the_next(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start())
        studio.drawer.draw(0, 1)
        outgoing = line.session.outgoing(studio.clock.time())
        assert next(outgoing) == encode(accepted())
        studio.drawer.draw(0, 1)
        assert next(outgoing) == encode(rows(0, 0, 2))
        studio.drawer.draw(0, 2)
        assert list(outgoing) == [encode(rows(0, 2, 4)), encode(done(0, 4, DoneReason.COMPLETE))]

    def test_streams_take_turns(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(start(0, images=3))
        for number in range(3):
            studio.drawer.draw(number, 4)
        kinds = [(type(answer), getattr(answer, "stream", 0)) for answer in line.read()]
        assert [stream for kind, stream in kinds if kind is Done] == [0, 1, 2]
        assert kinds.index((Rows, 2)) < kinds.index((Done, 0))

    def test_no_frame_of_the_largest_grid_is_longer_than_allowed(self) -> None:
        large = Model("tiny", bytes(8), 64, 64, 1, 2**31 - 1, 4, MODEL.sampling, [])
        studio = Studio(welcome=Welcome(LIMITS, [large]))
        line = greeted(studio)
        line.send(start())
        picture = next(iter(studio.book._by_name.values()))
        picture.ids += bytes(64 * 64 * 4)
        studio.drawer.place(0)
        frames = [f for f in line.session.outgoing(0.0) if msgpack.unpackb(f)[0] == 4]
        assert all(len(frame) <= MAX_SERVER_FRAME_BYTES for frame in frames)
        assert [len(msgpack.unpackb(frame)[3]) for frame in frames] == [63 * 256, 256]

    def test_a_line_that_was_lost_in_the_middle_of_sending_sends_no_more(
        self, studio: Studio
    ) -> None:
        line = greeted(studio)
        line.send(start(0, images=2))
        for number in range(2):
            studio.drawer.draw(number, 2)
        outgoing = line.session.outgoing(0.0)
        next(outgoing)
        line.session.close()
        assert list(outgoing) == []
        assert not any(picture.viewers for picture in studio.book._by_name.values())


def test_a_thousand_pictures_of_one_line_leave_nothing_behind() -> None:
    studio = Studio(keep=0)
    line = greeted(studio)
    for number in range(1_000):
        line.send(start(0, key=number.to_bytes(16)))
        if number % 2:
            studio.drawer.draw(number, 4)
        else:
            line.send(Cancel(0))
        assert isinstance(line.read()[-1], Done)
        studio.clock.advance(0)
    assert len(studio.book) == 0
    assert line.session._viewers == {}
    assert studio.clock.waiting == []


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
