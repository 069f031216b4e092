"""Frames become events, coalesced for whoever is slow."""

from __future__ import annotations

import pytest
from rowcast.events import PictureAccepted, PictureDone, PictureQueued, RowsArrived
from rowcast.messages import (
    DoneReason,
    GoAway,
    Ping,
    Pong,
    Queued,
    encode,
)

from tests.support.client.sessions import (
    PROMPT,
    greeted,
    kinds,
    message_of,
    started,
    taken,
)
from tests.support.fake_server import (
    accepted,
    done,
    ids_until,
    rows,
)


def test_a_picture_is_accepted_grows_and_ends() -> None:
    session, generation = started()
    for frame in (accepted(position=2), encode(Queued(0, 1)), rows(0), rows(1, 3), done()):
        session.receive(frame)
    place, queued, drawn, end = taken(generation)
    assert isinstance(place, PictureAccepted)
    assert isinstance(queued, PictureQueued)
    assert isinstance(drawn, RowsArrived)
    assert isinstance(end, PictureDone)
    assert queued.position == 1
    assert (drawn.first_row, drawn.rows.astype("<u2").tobytes()) == (0, ids_until(4))
    assert end.reason is DoneReason.COMPLETE
    assert generation.ended
    assert (end.picture.recipe.seed, end.picture.milliseconds) == (7, 5)


@pytest.mark.parametrize("cut", [0, 1, 65_535])
def test_a_caller_can_see_that_the_text_was_cut(cut: int) -> None:
    session, generation = started()
    session.receive(accepted(text_cut=cut, text_lost=7))
    (event,) = taken(generation)
    assert (event.picture.text_cut, event.picture.text_lost) == (cut, 7)


def test_a_slow_consumer_gets_fewer_larger_steps_of_the_newest_state() -> None:
    session, generation = started()
    session.receive(accepted())
    session.receive(rows(0))
    assert kinds(generation) == ["PictureAccepted", "RowsArrived"]
    session.receive(rows(1))
    session.receive(rows(2))
    session.receive(rows(3))
    (event,) = taken(generation)
    assert isinstance(event, RowsArrived)
    assert (event.first_row, len(event.rows)) == (1, 3)


def test_pictures_take_turns() -> None:
    session, generation = started(2)
    for frame in (accepted(0), accepted(1), rows(0, stream=1), rows(0, 2), rows(1, stream=1)):
        session.receive(frame)
    told = [(type(event), event.index) for event in taken(generation)]
    assert told == [
        (PictureAccepted, 0),
        (PictureAccepted, 1),
        (RowsArrived, 1),
        (RowsArrived, 0),
    ]


def test_news_wakes_whoever_waits() -> None:
    session, generation = started()
    woken: list[int] = []
    generation.wake = lambda: woken.append(1)
    session.receive(accepted())
    session.receive(rows(0))
    assert len(woken) == 2


def test_a_reason_that_we_do_not_know_is_an_end_all_the_same() -> None:
    session, generation = started()
    session.receive(accepted())
    session.receive(done(0, reason=77))
    assert generation.ended
    assert generation.pictures[0].reason == 77


def test_the_recipe_says_how_the_picture_was_drawn() -> None:
    session, generation = started(temperature=0.5)
    session.receive(accepted(seed=9))
    recipe = generation.pictures[0].recipe
    assert (recipe.prompt, recipe.seed, recipe.sampling.temperature) == (PROMPT, 9, 0.5)
    assert (recipe.sampling.top_k, recipe.sampling.guidance) == (32, 4.0)


def test_pings_are_answered() -> None:
    session = greeted()
    assert [message_of(frame) for frame in session.receive(encode(Ping(5)))] == [Pong(5)]


def test_what_need_not_be_known_is_ignored() -> None:
    session, generation = started()
    for frame in (b"\x92\x28\x01", encode(Pong(1)), encode(GoAway(500)), rows(0, stream=99)):
        assert session.receive(frame) == []
    assert not generation.ended
