"""`watch` of a picture that another gateway of the cluster may have."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest
from rowcast.messages import Cancel, CloseCode, DoneReason, ErrorCode
from rowcast_server.config import ServerConfig
from rowcast_server.errors import CloseConnection
from rowcast_server.picture import Picture

from tests.support.fakes import KEY, Studio, order
from tests.support.lines import VIEW, accepted, done, greeted, rows, watch

NAME = VIEW, 0


class Asked:
    """The other gateways; they answer when a test has them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.questions: list[Callable[[], None]] = []
        self.left_with: list[DoneReason] = []
        studio.book._elsewhere = self

    def seek(self, name: tuple[bytes, int], then: Callable[[], None]) -> None:
        assert name == NAME
        self.questions.append(then)

    def answer(self, *, has: bool = True) -> None:
        if has:
            picture = self.studio.book.mirror(NAME, order(), "somebody", None, b"")
            self.studio.book.place(picture, 0)
        self.questions.pop(0)()

    def left(self, picture: Picture, reason: DoneReason) -> None:
        self.left_with.append(reason)

    def taken(self, client: Hashable) -> int:
        return 0

    def opened(self, picture: Picture) -> None: ...
    def placed(self, picture: Picture) -> None: ...
    def grown(self, picture: Picture, first_row: int) -> None: ...
    def ended(self, picture: Picture) -> None: ...
    def forgot(self, picture: Picture) -> None: ...


@pytest.fixture
def asked(studio: Studio) -> Asked:
    return Asked(studio)


def test_a_picture_that_is_found_is_watched_as_it_grows(studio: Studio, asked: Asked) -> None:
    viewer = greeted(studio)
    viewer.send(watch(2))
    assert viewer.read() == []
    asked.answer()
    picture = studio.book.find(*NAME, 0, 0)
    assert viewer.read() == [accepted(2)]
    ids = bytes(range(16))
    studio.book.extend(picture, 0, ids)
    studio.book.extend(picture, 1, ids[8:])  # it has them
    assert [message.ids for message in viewer.read()] == [ids]  # type: ignore[union-attr]
    studio.book.finish(picture, DoneReason.STOP_ROW)
    (end,) = viewer.read()
    assert end.reason == DoneReason.STOP_ROW  # type: ignore[union-attr]


def test_one_that_nobody_has_is_gone_and_counts_as_a_miss(studio: Studio, asked: Asked) -> None:
    clients = studio.clients_of(ServerConfig(failures_per_minute=1))
    viewer = greeted(studio, clients=clients)
    for stream in range(4):
        viewer.send(watch(stream))
        asked.answer(has=False)
        (error,) = viewer.read()
        assert error.code == ErrorCode.GONE  # type: ignore[union-attr]
    with pytest.raises(CloseConnection) as closed:
        viewer.send(watch(5))
    assert closed.value.code == CloseCode.RATE_LIMITED
    assert asked.questions == []


def test_who_cancels_while_it_is_asked_for_leaves(studio: Studio, asked: Asked) -> None:
    viewer = greeted(studio)
    viewer.send(watch(2))
    viewer.send(Cancel(2))
    asked.answer()
    assert viewer.read() == [accepted(2), done(2, 0, DoneReason.LEFT)]


def test_who_closes_while_it_is_asked_for_is_not_there(studio: Studio, asked: Asked) -> None:
    viewer = greeted(studio)
    viewer.send(watch(2))
    viewer.session.close()
    asked.answer()
    assert studio.book.find(*NAME, 0, 0).viewers == set()


def test_its_stream_is_taken_while_it_is_asked_for(studio: Studio, asked: Asked) -> None:
    viewer = greeted(studio)
    viewer.send(watch(2))
    with pytest.raises(CloseConnection) as closed:
        viewer.send(watch(2))
    assert closed.value.code == CloseCode.DUPLICATE_STREAM


def test_what_is_drawn_here_is_not_asked_for(studio: Studio, asked: Asked) -> None:
    studio.start(KEY)
    studio.drawer.draw(0, 1)
    viewer = greeted(studio)
    viewer.send(watch(2))
    assert viewer.read() == [accepted(2), rows(2, 0, 1)]
    assert asked.questions == []


def test_a_mirror_that_nobody_watches_is_left_after_its_grace(studio: Studio, asked: Asked) -> None:
    viewer = greeted(studio)
    viewer.send(watch(2))
    asked.answer()
    viewer.session.close()
    studio.clock.advance(31)
    assert asked.left_with == [DoneReason.CANCELLED]
    assert studio.drawer.cancelled == []
    assert not studio.book.has(NAME)
