"""Queue positions, and how frames grow where the socket is slow."""

from __future__ import annotations

import msgpack
import pytest
from rowcast.messages import (
    MAX_SERVER_FRAME_BYTES,
    Cancel,
    Done,
    DoneReason,
    Model,
    Queued,
    Rows,
    Welcome,
    encode,
)

from tests.support.fakes import LIMITS, MODEL, Studio
from tests.support.lines import (
    accepted,
    done,
    greeted,
    rows,
    start,
    watch,
)


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
        assert line.read() == []  # they tell that drawing has begun

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
        picture.row_times += [0.0] * 64
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
        studio.clock.advance(0.25)  # as often as one client may ask
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
