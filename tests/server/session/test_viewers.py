"""`watch` and `cancel`: who sees a picture, and who ends it."""

from __future__ import annotations

import pytest
from rowcast.messages import (
    Accepted,
    Cancel,
    Done,
    DoneReason,
    Error,
    Ping,
    Watch,
    encode,
    ids_checksum,
)

from tests.support.fakes import KEY, Studio, ids_of
from tests.support.lines import (
    VIEW,
    accepted,
    done,
    greeted,
    rows,
    start,
    watch,
)


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
