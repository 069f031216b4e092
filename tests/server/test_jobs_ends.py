"""Pictures in the book end, are kept for a while, and are forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast.messages import DoneReason, ids_checksum, view_key
from rowcast_server.engine.request import Ending, PictureEnded, RowDrawn
from rowcast_server.errors import Refused
from rowcast_server.picture import Picture

from tests.support.fakes import KEY, MODEL, Studio, ids_of, order

VIEW = view_key(KEY)


OTHER_KEY = bytes(15) + b"\xff"


def nothing() -> None:
    """A viewer that is woken and does nothing."""


class TestEndings:
    def test_a_cancel_reaches_the_engine_and_keeps_the_rows(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.draw(picture.number, 1)
        studio.book.cancel(picture)
        assert studio.drawer.cancelled == [picture.number]
        assert (picture.reason, picture.rows) == (DoneReason.CANCELLED, 1)

    def test_a_cancel_after_the_end_changes_nothing(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.draw(picture.number, 4)
        studio.book.cancel(picture)
        assert picture.reason is DoneReason.COMPLETE
        assert studio.drawer.cancelled == []

    def test_what_the_engine_draws_after_a_cancel_is_dropped(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.draw(picture.number, 1)
        late = RowDrawn(picture.number, 1, np.frombuffer(ids_of(0, 1, 2), "<u2").astype(np.int64))
        studio.book.cancel(picture)
        studio.book.deliver([late, PictureEnded(picture.number, Ending.CANCELLED)])
        assert picture.rows == 1

    def test_a_failure_is_the_servers_fault_and_says_what_the_engine_said(self) -> None:
        studio = Studio()
        told, untold = studio.start(), studio.start(OTHER_KEY)
        studio.drawer.fail(told.number, "out of memory")
        studio.drawer.fail(untold.number)
        assert isinstance(told.reason, Refused)
        assert (told.reason.code, told.reason.text) == ("internal", "out of memory")
        assert isinstance(untold.reason, Refused)
        assert untold.reason.text

    def test_a_picture_that_takes_too_long_is_ended(self) -> None:
        studio = Studio(deadline=60)
        picture = studio.start()
        studio.drawer.draw(picture.number, 1)
        studio.clock.advance(59.9)
        assert not picture.ended
        studio.clock.advance(0.2)
        assert picture.reason is DoneReason.DEADLINE
        assert studio.drawer.cancelled == [picture.number]

    def test_a_deadline_counts_the_drawing_and_not_the_wait(self) -> None:
        """24 pictures in one slot, each a second: those that wait are not ended undrawn."""
        studio = Studio(deadline=3)
        pictures = [studio.start(number.to_bytes(16)) for number in range(24)]
        for picture in pictures:
            studio.clock.advance(1)
            studio.drawer.draw(picture.number, 4)
        assert {picture.reason for picture in pictures} == {DoneReason.COMPLETE}
        slow = studio.start(OTHER_KEY)
        studio.drawer.place(slow.number, 3)
        studio.clock.advance(100)
        assert not slow.ended
        studio.drawer.place(slow.number, 0)
        studio.clock.advance(2.9)
        assert not slow.ended
        studio.clock.advance(0.2)
        assert slow.reason is DoneReason.DEADLINE

    def test_a_picture_that_has_ended_has_no_deadline(self) -> None:
        studio = Studio(deadline=60, keep=300)
        picture = studio.start()
        studio.drawer.draw(picture.number, 4)
        studio.clock.advance(100)
        assert picture.reason is DoneReason.COMPLETE

    def test_a_full_queue_refuses_and_the_book_knows_nothing_of_it(self) -> None:
        studio = Studio(capacity=1)
        first = studio.start()
        with pytest.raises(Refused) as refused:
            studio.start(OTHER_KEY)
        assert refused.value.code == "busy"
        assert refused.value.retry_ms > 0
        assert len(studio.book) == 1
        studio.book.cancel(first)
        assert not studio.start(OTHER_KEY).ended


class TestGraceAndKeep:
    def test_a_picture_that_nobody_watches_goes_on_for_the_grace_time(self) -> None:
        studio = Studio(grace=30)
        picture = studio.book.start(KEY, 0, order(), "somebody")
        studio.book.attach(picture, nothing)
        studio.book.detach(picture, nothing)
        studio.clock.advance(29.9)
        studio.drawer.draw(picture.number, 1)
        assert (picture.rows, picture.ended) == (1, False)
        studio.clock.advance(0.2)
        assert picture.reason is DoneReason.CANCELLED
        assert studio.drawer.cancelled == [picture.number]

    def test_after_the_grace_time_it_is_gone_and_can_be_started_anew(self) -> None:
        studio = Studio(grace=30)
        picture = studio.book.start(KEY, 0, order(), "somebody")
        studio.book.attach(picture, nothing)
        studio.drawer.draw(picture.number, 2)
        studio.book.detach(picture, nothing)
        studio.clock.advance(31)
        with pytest.raises(Refused, match="no such picture"):
            studio.book.find(VIEW, 0, 2, ids_checksum(ids_of(0, 0, 2)))
        again = studio.start(prefix=ids_of(0, 0, 2))
        assert again is not picture
        assert again.ids == ids_of(0, 0, 2)

    def test_a_viewer_in_time_ends_the_grace(self) -> None:
        studio = Studio(grace=30)
        picture = studio.book.start(KEY, 0, order(), "somebody")
        studio.book.attach(picture, nothing)
        studio.book.detach(picture, nothing)
        studio.clock.advance(29)
        studio.book.attach(picture, nothing)
        studio.clock.advance(100)
        assert not picture.ended

    def test_one_viewer_of_two_that_leaves_starts_no_clock(self) -> None:
        studio = Studio(grace=30)
        picture = studio.start()
        studio.book.attach(picture, nothing)
        studio.book.detach(picture, nothing)
        studio.clock.advance(100)
        assert not picture.ended

    def test_an_ended_picture_is_kept_and_then_gone(self) -> None:
        studio = Studio(keep=300)
        picture = studio.start()
        studio.drawer.draw(picture.number, 4)
        studio.clock.advance(299)
        assert studio.book.find(VIEW, 0, 0, 0) is picture
        studio.clock.advance(2)
        with pytest.raises(Refused, match="no such picture"):
            studio.book.find(VIEW, 0, 0, 0)
        assert len(studio.book) == 0

    def test_watching_a_kept_picture_does_not_prolong_it(self) -> None:
        studio = Studio(keep=300, grace=30)
        picture = studio.start()
        studio.drawer.draw(picture.number, 4)
        studio.clock.advance(299)
        studio.book.attach(picture, nothing)
        studio.book.detach(picture, nothing)
        studio.clock.advance(2)
        assert len(studio.book) == 0

    def test_a_picture_that_failed_is_kept_too(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.fail(picture.number)
        assert studio.book.find(VIEW, 0, 0, 0) is picture


class TestMemory:
    def test_of_too_many_kept_pictures_the_oldest_are_gone_early(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or a client that starts and cancels would fill the memory within the keep time."""
        monkeypatch.setattr("rowcast_server.jobs.MAX_KEPT", 3)
        studio = Studio(keep=300)
        pictures = [studio.start(number.to_bytes(16)) for number in range(6)]
        for number in (1, 0, 2, 4, 5):
            studio.book.cancel(pictures[number])
        kept = {picture for picture in pictures if picture in studio.book._by_name.values()}
        assert kept == {pictures[number] for number in (2, 3, 4, 5)}
        assert not pictures[3].ended
        studio.clock.advance(301)
        assert len(studio.book) == 1

    @pytest.mark.parametrize("ending", ["drawn", "cancelled", "failed", "left alone"])
    def test_a_thousand_pictures_leave_nothing_behind(self, ending: str) -> None:
        studio = Studio(keep=0, grace=1)
        for number in range(1_000):
            key = number.to_bytes(16)
            picture = studio.book.start(key, 0, order(), "somebody")
            studio.book.attach(picture, nothing)
            self.end(studio, picture, ending)
            studio.book.detach(picture, nothing)
            studio.clock.advance(2)
        assert len(studio.book) == 0
        assert studio.book._by_number == {}
        assert studio.book._kept == {}
        assert not [*studio.book._taken, *studio.book._waiting], "clients, of whom 0 are counted"
        assert studio.clock.waiting == []
        assert studio.drawer.requests == {}

    @staticmethod
    def end(studio: Studio, picture: Picture, ending: str) -> None:
        match ending:
            case "drawn":
                studio.drawer.draw(picture.number, MODEL.rows)
            case "cancelled":
                studio.book.cancel(picture)
            case "failed":
                studio.drawer.fail(picture.number)
