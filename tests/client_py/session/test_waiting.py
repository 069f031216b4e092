"""A busy server, and one that goes away, on a clock that a test turns (R-51, R-70)."""

from __future__ import annotations

import pytest
from rowcast.errors import RequestRefused
from rowcast.events import PictureAccepted, PictureFailed, RowsArrived
from rowcast.messages import Cancel, Error, GoAway, Start, Watch, encode
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.client.sessions import PROMPT, kinds, message_of, taken
from tests.support.fake_server import accepted, done, ids_until, rows, welcome

LONGEST = 1.25  # times the wait that a server asks for


class Waiting:
    """A session with 10 seconds of patience for a fresh request, and 20 for rows."""

    def __init__(self) -> None:
        self.now = 100.0
        self.session = ClientSession(reconnect=20, wait_when_busy=10, clock=lambda: self.now)
        self.greet()

    def greet(self) -> None:
        self.session.hello()
        self.session.receive(welcome())

    def refuse(self, stream: int = 0, retry_ms: int = 2_000) -> None:
        self.session.receive(encode(Error(stream, "busy", retry_ms, "full")))

    def asked(self) -> list[object]:
        return [message_of(frame) for frame in self.session.retry()]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_nothing_is_asked_again_before_its_time(waiting: Waiting) -> None:
    _, [frame] = waiting.session.start(Request(PROMPT))
    assert waiting.session.retry_in is None
    waiting.refuse()
    due = waiting.session.retry_in
    assert due is not None
    assert 2 <= due <= 2 * LONGEST
    waiting.now += 1.99
    assert waiting.asked() == []
    waiting.now += 2 * LONGEST - 1.99
    assert waiting.session.retry_in == 0
    assert waiting.asked() == [message_of(frame)]
    assert waiting.session.retry_in is None  # until it is answered
    assert waiting.asked() == []


def test_a_request_is_asked_for_as_one_once_all_of_it_was_refused(waiting: Waiting) -> None:
    _, [frame] = waiting.session.start(Request(PROMPT, 3))
    waiting.refuse(0)
    waiting.refuse(2)
    waiting.now += 3
    assert waiting.session.retry_in is None
    assert waiting.asked() == []
    waiting.refuse(1)
    waiting.now += 3
    assert waiting.asked() == [message_of(frame)]


def test_of_a_request_that_was_accepted_in_part_the_rest_is_asked_for(waiting: Waiting) -> None:
    generation, _ = waiting.session.start(Request(PROMPT, 2))
    waiting.session.receive(accepted(0, seed=41))
    waiting.refuse(1)
    waiting.now += 3
    [start] = waiting.asked()
    assert isinstance(start, Start)
    assert (start.stream, start.images, start.key) == (1, 1, generation.key)
    assert (start.options.first_image, start.options.seed) == (1, 41)


def test_patience_is_for_all_waits_together_and_begins_anew_with_rows(
    waiting: Waiting,
) -> None:
    generation, _ = waiting.session.start(Request(PROMPT))
    for _ in range(3):
        waiting.refuse()
        waiting.now += 3
        assert len(waiting.asked()) == 1
    waiting.session.receive(accepted())
    waiting.session.receive(rows(0, 2))
    waiting.greet()
    waiting.session.resume()
    for _ in range(6):
        waiting.refuse()
        waiting.now += 3
        [start] = waiting.asked()
        assert isinstance(start, Start)
        assert start.options.prefix == ids_until(2)
    waiting.now += 0.5
    waiting.refuse()
    told = [generation.take() for _ in range(3)]
    assert [type(event) for event in told] == [PictureAccepted, RowsArrived, PictureFailed]
    with pytest.raises(RequestRefused) as caught:
        generation.take()
    assert [picture.held_bytes for picture in caught.value.pictures] == [ids_until(2)]


def test_a_server_that_only_accepts_and_is_busy_again_is_not_asked_for_ever(
    waiting: Waiting,
) -> None:
    generation, _ = waiting.session.start(Request(PROMPT))
    waiting.session.receive(accepted())
    waiting.session.receive(rows(0))
    asked = 0
    while not generation.ended and asked < 20:
        waiting.refuse()
        waiting.now += 3
        asked += len(waiting.asked())
        waiting.session.receive(accepted(first_row=1))
    assert asked == 7  # in 20 seconds
    assert generation.ended


def test_patience_is_whole_again_after_a_long_time_in_the_queue(waiting: Waiting) -> None:
    generation, _ = waiting.session.start(Request(PROMPT))
    waiting.refuse()
    waiting.now += 3
    assert len(waiting.asked()) == 1
    waiting.session.receive(accepted(position=9))
    waiting.now += 600
    waiting.greet()
    waiting.session.resume()
    waiting.refuse()
    assert not generation.ended


def test_a_wait_longer_than_the_patience_is_told_at_once(waiting: Waiting) -> None:
    generation, _ = waiting.session.start(Request(PROMPT))
    waiting.refuse(retry_ms=10_001)
    with pytest.raises(RequestRefused):
        taken(generation)


def test_a_viewer_waits_too(waiting: Waiting) -> None:
    generation, _ = waiting.session.watch(bytes(16))
    waiting.refuse()
    waiting.now += 3
    assert waiting.asked() == [Watch(0, bytes(16), 0, 0, 0)]
    for frame in (accepted(), rows(0, 4), done()):
        waiting.session.receive(frame)
    assert kinds(generation)[-1] == "PictureDone"


def test_a_link_that_breaks_meanwhile_does_not_shorten_the_wait(waiting: Waiting) -> None:
    _, [frame] = waiting.session.start(Request(PROMPT, 2))
    waiting.refuse(0)
    waiting.greet()
    assert waiting.session.resume() == []
    waiting.now += 3
    assert waiting.asked() == [message_of(frame)]


def test_leaving_while_waiting_frees_the_streams(waiting: Waiting) -> None:
    generation, _ = waiting.session.start(Request(PROMPT, 2))
    waiting.session.receive(accepted(1, seed=3))
    waiting.refuse(0)
    assert [message_of(frame) for frame in waiting.session.cancel(generation)] == [Cancel(1)]
    generation.abandon()
    waiting.now += 3
    assert waiting.asked() == []
    again, _ = waiting.session.start(Request(PROMPT))
    assert [slot.stream for slot in again.slots] == [0]


def test_after_goaway_no_start_is_sent_until_the_next_socket(waiting: Waiting) -> None:
    _, [early] = waiting.session.start(Request("early"))
    waiting.refuse()
    waiting.session.receive(encode(GoAway(1_000)))
    late, frames = waiting.session.start(Request("late"))
    assert frames == []
    waiting.now += 3
    assert waiting.session.retry_in is None
    assert waiting.asked() == []
    _, watched = waiting.session.watch(bytes(16))
    assert len(watched) == 1  # only `start` is not sent
    waiting.greet()
    [start, watch] = [message_of(frame) for frame in waiting.session.resume()]
    assert isinstance(start, Start)
    assert (start.prompt, start.key) == ("late", late.key)
    assert isinstance(watch, Watch)
    assert waiting.asked() == [message_of(early)]
