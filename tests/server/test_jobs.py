"""The book of pictures: names, row logs, viewers, and the three clocks that end everything."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from rowcast.messages import DoneReason, ids_checksum, view_key
from rowcast_server.engine.request import RowDrawn
from rowcast_server.errors import Refused
from rowcast_server.network.facts import Sampling

from tests.support.fakes import KEY, Studio, ids_of, order

VIEW = view_key(KEY)


OTHER_KEY = bytes(16)


def nothing() -> None:
    """A viewer that is woken and does nothing."""


def test_rows_are_logged_in_order_little_endian() -> None:
    studio = Studio()
    picture = studio.start()
    assert (picture.rows, picture.ended) == (0, False)
    studio.drawer.draw(picture.number, 3)
    assert picture.rows == 3
    assert picture.ids == ids_of(0, 0, 3)


class Row(np.ndarray[Any, Any]):
    """Ids of which none can be had alone."""

    def __iter__(self) -> Any:
        raise AssertionError("ids are converted one by one")

    def __getitem__(self, place: Any) -> Any:
        iter(self)

    def tolist(self) -> Any:
        iter(self)


def test_a_row_becomes_bytes_at_once() -> None:
    studio = Studio()
    picture = studio.start()
    ids = np.frombuffer(ids_of(0, 0, 1), "<u2").astype(np.int64).view(Row)
    studio.book.deliver([RowDrawn(picture.number, 0, ids)])
    assert picture.ids == ids_of(0, 0, 1)


def test_a_whole_picture_is_complete_and_a_part_ends_at_its_stop_row() -> None:
    studio = Studio()
    whole, part = studio.start(), studio.start(OTHER_KEY, stop_row=2)
    studio.drawer.draw(whole.number, 4)
    studio.drawer.draw(part.number, 2)
    assert whole.reason is DoneReason.COMPLETE
    assert part.reason is DoneReason.STOP_ROW


def test_every_viewer_is_woken_by_every_row_and_by_the_end() -> None:
    studio = Studio()
    picture = studio.start()
    woken: list[str] = []
    studio.book.attach(picture, lambda: woken.append("a"))
    studio.book.attach(picture, lambda: woken.append("b"))
    studio.drawer.draw(picture.number)
    studio.book.cancel(picture)
    assert woken.count("a") == woken.count("b") >= 2


def test_a_viewer_that_left_is_not_woken() -> None:
    studio = Studio()
    picture = studio.start()
    woken: list[str] = []

    def wake() -> None:
        woken.append("left")

    studio.book.attach(picture, wake)
    studio.book.detach(picture, wake)
    studio.drawer.draw(picture.number)
    assert woken == []


class TestNames:
    def test_the_same_start_attaches_and_draws_nothing_new(self) -> None:
        studio = Studio()
        picture = studio.start()
        assert studio.start() is picture
        assert len(studio.drawer.requests) == 1

    def test_a_start_without_a_seed_attaches_to_whichever_was_drawn(self) -> None:
        studio = Studio()
        picture = studio.start(seed=7)
        assert studio.start(seed=8, seed_was_given=False) is picture

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt": "a blue boat"},
            {"seed": 8},
            {"stop_row": 3},
            {"sampling": Sampling(temperature=0.5)},
        ],
        ids=["prompt", "seed", "stop_row", "sampling"],
    )
    def test_the_same_key_for_something_else_is_a_conflict(self, changes: dict[str, Any]) -> None:
        studio = Studio()
        studio.start()
        with pytest.raises(Refused) as refused:
            studio.start(**changes)
        assert refused.value.code == "conflict"
        assert len(studio.drawer.requests) == 1

    def test_images_of_one_key_are_different_pictures(self) -> None:
        studio = Studio()
        assert studio.start(image=0) is not studio.start(image=1)
        assert len(studio.book) == 2

    def test_a_prefix_must_be_the_rows_drawn_as_far_as_both_go(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.draw(picture.number, 2)
        for rows in (1, 2, 3):
            assert studio.start(prefix=ids_of(0, 0, rows)) is picture
        with pytest.raises(Refused) as refused:
            studio.start(prefix=ids_of(1, 0, 2))
        assert refused.value.code == "conflict"

    def test_a_prefix_longer_than_an_ended_picture_is_a_conflict(self) -> None:
        studio = Studio()
        picture = studio.start()
        studio.drawer.draw(picture.number, 1)
        studio.book.cancel(picture)
        assert studio.start(prefix=ids_of(0, 0, 1)) is picture
        with pytest.raises(Refused) as refused:
            studio.start(prefix=ids_of(0, 0, 2))
        assert refused.value.code == "conflict"


def test_a_prefix_is_in_the_log_before_anything_is_drawn() -> None:
    studio = Studio()
    picture = studio.start(prefix=ids_of(0, 0, 2))
    assert picture.ids == ids_of(0, 0, 2)
    assert studio.drawer.requests[picture.number].prefix_rows == 2
    studio.drawer.draw(picture.number, 2)
    assert picture.ids == ids_of(0, 0, 4)
    assert picture.reason is DoneReason.COMPLETE


class TestFinding:
    @pytest.fixture
    def studio(self) -> Studio:
        studio = Studio()
        studio.drawer.draw(studio.start().number, 2)
        return studio

    @pytest.mark.parametrize("rows", [0, 1, 2])
    def test_rows_held_are_proved_by_their_checksum(self, studio: Studio, rows: int) -> None:
        crc32 = ids_checksum(ids_of(0, 0, rows))
        assert studio.book.find(VIEW, 0, rows, crc32).rows == 2

    @pytest.mark.parametrize(
        ("key", "image", "rows", "crc32"),
        [
            (VIEW, 0, 1, ids_checksum(ids_of(0, 0, 2))),
            (VIEW, 0, 1, 0),
            (VIEW, 0, 3, ids_checksum(ids_of(0, 0, 3))),
            (VIEW, 0, 3, ids_checksum(ids_of(0, 0, 2))),
            (VIEW, 0, 64, 0),
            (VIEW, 1, 0, 0),
            (KEY, 0, 0, 0),
            (view_key(OTHER_KEY), 0, 0, 0),
        ],
        ids=[
            "of other rows",
            "none",
            "not drawn yet",
            "fewer rows",
            "beyond",
            "image",
            "the owner's",
            "unknown",
        ],
    )
    def test_anything_else_is_gone(
        self, studio: Studio, key: bytes, image: int, rows: int, crc32: int
    ) -> None:
        with pytest.raises(Refused) as refused:
            studio.book.find(key, image, rows, crc32)
        assert (refused.value.code, refused.value.retry_ms) == ("gone", 0)


class TestShares:
    """Of a drawer of ``capacity`` slots and ``places`` in its queue."""

    @staticmethod
    def fill(studio: Studio, client: str, owner: str | None = None) -> int:
        """Start pictures of a client until it is told that it has its share."""
        keys = (client.encode().ljust(12) + number.to_bytes(4) for number in range(1_000))
        before = len(studio.book)
        with pytest.raises(Refused) as refused:
            deque((studio.book.start(key, 0, order(), client, owner) for key in keys), maxlen=0)
        assert (refused.value.code, refused.value.retry_ms) == ("busy", 2_000)
        return len(studio.book) - before

    def test_of_the_queue_nobody_has_more_than_it_leaves(self) -> None:
        studio = Studio(capacity=4, places=100)
        taken = [self.fill(studio, client) for client in "abcd"]
        assert taken == [4 + 51, 25, 13, 6]
        assert studio.drawer.room == (0, 100 - 51 - 25 - 13 - 6)
        assert self.fill(studio, "e") > 0, "who has none finds a place"

    def test_free_slots_are_for_whoever_comes(self) -> None:
        assert self.fill(Studio(capacity=4), "a") == 4
        studio = Studio(capacity=4, places=1)
        assert self.fill(studio, "a") == 5

    def test_what_takes_a_slot_does_not_wait(self) -> None:
        """Also before the engine has told that it draws it."""
        assert self.fill(Studio(capacity=16, places=16), "a") == 16 + 9

    def test_what_ends_or_is_drawn_makes_room_for_more(self) -> None:
        studio = Studio(capacity=1, places=4)
        assert self.fill(studio, "a") == 1 + 3
        studio.drawer.draw(0, 4)
        studio.drawer.place(1)  # as the engine does then
        assert self.fill(studio, "b") == 2
        studio.book.cancel(studio.book._by_number[2])
        studio.book.cancel(studio.book._by_number[3])
        assert self.fill(studio, "c") == 2

    def test_a_client_has_so_many_at_once_also_where_there_is_room(self) -> None:
        studio = Studio(client_pictures=3)
        assert self.fill(studio, "a") == 3
        assert self.fill(studio, "b") == 3
        studio.drawer.draw(0, 4)
        studio.book.cancel(studio.book._by_number[1])
        studio.drawer.fail(2)
        assert self.fill(studio, "a2") == 3
        assert studio.book._taken == {"b": 3, "a2": 3}

    def test_nothing_is_left_of_whoever_has_no_picture(self) -> None:
        studio = Studio(capacity=2, places=9)
        for client in "abc":
            self.fill(studio, client)
        for number in list(studio.book._by_number):
            studio.book.cancel(studio.book._by_number[number])
        assert studio.book._taken == studio.book._waiting == {}

    def test_a_start_that_is_refused_counts_for_nothing(self) -> None:
        studio = Studio(capacity=1)
        studio.start()
        with pytest.raises(Refused):
            studio.book.start(OTHER_KEY, 0, order(), "b")
        assert "b" not in studio.book._taken
        assert len(studio.book) == 1

    def test_the_same_picture_again_is_no_other(self) -> None:
        studio = Studio(client_pictures=1)
        picture = studio.start()
        assert studio.start() is picture


class TestOwners:
    @pytest.mark.parametrize(
        ("first", "second"), [("alice", "bob"), ("alice", None), (None, "alice")]
    )
    def test_a_key_is_its_owners_whatever_is_asked_for(
        self, first: str | None, second: str | None
    ) -> None:
        studio = Studio()
        picture = studio.book.start(KEY, 0, order(), "somebody", first)
        for changes in ({}, {"prompt": "a blue boat"}, {"seed": 8}):
            with pytest.raises(Refused) as refused:
                studio.book.start(KEY, 0, order(**changes), "somebody", second)
            assert (refused.value.code, refused.value.retry_ms) == ("forbidden", 0)
        assert studio.book.start(KEY, 0, order(), "elsewhere", first) is picture
        assert picture.owner == first
