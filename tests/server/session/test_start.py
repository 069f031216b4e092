"""`start`: one picture or several, repeated, continued or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs
from rowcast.messages import (
    MAX_STREAM,
    Accepted,
    Cancel,
    Done,
    DoneReason,
    Error,
    Options,
    Start,
    encode,
)

from tests.support.fakes import KEY, Studio, ids_of
from tests.support.lines import (
    accepted,
    closed_by,
    done,
    greeted,
    rows,
    start,
    watch,
)


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

    def test_characters_that_the_model_does_not_know_are_told(self, studio: Studio) -> None:
        line = greeted(studio)
        line.send(Start(0, KEY, "a red house 海边", 1, Options(seed=7)))
        studio.drawer.place(0)
        assert line.read() == [structs.replace(accepted(), text_lost=2)]

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
