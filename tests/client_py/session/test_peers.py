"""Servers that break the rules, and servers that refuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from rowcast.errors import (
    ConnectionLost,
    PictureGone,
    ProtocolError,
    RequestRefused,
)
from rowcast.events import PictureDone, PictureFailed, RowsArrived
from rowcast.messages import (
    Cancel,
    DoneReason,
    Error,
    Queued,
    Rows,
    Welcome,
    encode,
)
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.client.sessions import (
    PROMPT,
    greeted,
    kinds,
    message_of,
    started,
    taken,
)
from tests.support.fake_server import (
    LIMITS,
    MODEL,
    accepted,
    done,
    ids_until,
    rows,
    welcome,
)

# Peers that break the rules


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([rows(0)], "stream 0 was not accepted"),
        ([done()], "stream 0 was not accepted"),
        ([encode(Queued(0, 1))], "stream 0 was not accepted"),
        ([accepted(), rows(1)], "row 1 arrived where row 0 was due"),
        ([accepted(), rows(0), rows(0)], "row 0 arrived where row 1 was due"),
        ([accepted(), encode(Rows(0, 0, b"123"))], "no whole rows"),
        ([accepted(), encode(Rows(0, 0, b"\xff" * 8))], "the id 65535 in a codebook of 96"),
        ([accepted(), rows(0, 5)], "row 4 of a grid of 4"),
        ([accepted(), rows(0, 4), done(crc32=1)], "crc32 00000001"),
        ([accepted(), rows(0, 3), done()], "ended with 4 rows"),
        ([accepted(model="other")], "'other', which was not announced"),
        ([accepted(image=3)], "image 3 instead of 0"),
        ([accepted(rows=64, cols=64)], "rows 64 instead of 4"),
        ([accepted(cols=8)], "cols 8 instead of 4"),
        ([accepted(id_bytes=4)], "id_bytes 4 instead of 2"),
        ([accepted(), accepted()], "stream 0 was accepted twice"),
        ([accepted(), accepted(seed=8)], "another seed"),
        ([accepted(), rows(0, 2), done(2)], "ended as complete with 2 rows, where 4"),
        ([accepted(), rows(0), done(1, reason=DoneReason.STOP_ROW)], "ended as stop_row with 1"),
        ([accepted(first_row=2)], "row 2 follows; 0 are held"),
        ([accepted(), accepted(revision=b"another!")], "another revision"),
        ([accepted(), rows(0), accepted(first_row=0)], "row 0 follows; 1 are held"),
        ([encode(Error(None, "internal", 0, "on fire"))], "on fire"),
        ([b"\x93\x0b\x00\x00"], "not a message"),
        ([b"garbage"], "not a message"),
        ([b""], "not a message"),
        (["[4, 0, 0]"], "text frame"),
        ([encode(Rows(0, 0, bytes(16_384)))], "at most 16384"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_apart(
    frames: list[bytes | str], fault: str
) -> None:
    session, generation = started()
    for frame in frames[:-1]:
        session.receive(frame)
    with pytest.raises(ProtocolError, match=fault):
        session.receive(frames[-1])
    held = [picture.rows_held for picture in generation.pictures]
    session.fail(ProtocolError("as a shell does"))
    with pytest.raises(ProtocolError) as caught:
        taken(generation)
    assert [picture.rows_held for picture in caught.value.pictures] == held


@pytest.mark.parametrize(
    ("asked", "answer", "fault"),
    [
        ({"seed": 3}, {"seed": 4}, "seed 4 instead of 3"),
        ({"seed": 0}, {"seed": 1}, "seed 1 instead of 0"),
        ({"revision": b"revision"}, {"revision": b"another!"}, "revision b'another!' instead"),
        ({"prefix": ids_until(2)}, {"first_row": 1}, "row 1 follows; 2 are held"),
        ({"prefix": ids_until(2)}, {"first_row": 0}, "row 0 follows; 2 are held"),
    ],
)
def test_what_was_accepted_is_what_was_asked_for(
    asked: dict[str, Any], answer: dict[str, Any], fault: str
) -> None:
    session, _ = started(**asked)
    with pytest.raises(ProtocolError, match=fault):
        session.receive(accepted(**answer))


def test_all_pictures_of_a_request_have_one_seed() -> None:
    session, _ = started(2)
    session.receive(accepted(0, seed=3))
    with pytest.raises(ProtocolError, match="seed 4 instead of 3"):
        session.receive(accepted(1, seed=4))


def test_another_model_than_the_one_asked_for_is_none() -> None:
    other = replace(MODEL, name="other")
    session = ClientSession()
    session.hello()
    session.receive(encode(Welcome(LIMITS, [MODEL, other])))
    for request in (Request(PROMPT), Request(PROMPT, model="tiny")):
        session.start(request)
        with pytest.raises(ProtocolError, match="model 'other' instead of 'tiny'"):
            session.receive(accepted(model="other"))
        session.fail(ProtocolError("as a shell does"))
    session.watch(bytes(16))
    session.receive(accepted(model="other", seed=99))  # somebody else's may be by any


@pytest.mark.parametrize(
    ("drawn", "reason", "fault"),
    [
        (3, DoneReason.STOP_ROW, "3 rows, where 2 were asked for"),
        (4, DoneReason.COMPLETE, "4 rows, where 2 were asked for"),
        (1, DoneReason.STOP_ROW, "ended as stop_row with 1 rows, where 2"),
    ],
)
def test_no_more_and_no_fewer_rows_than_were_asked_for(
    drawn: int, reason: DoneReason, fault: str
) -> None:
    session, generation = started(stop_row=2)
    frames = [accepted(), rows(0, drawn), done(drawn, reason=reason)]
    with pytest.raises(ProtocolError, match=fault):
        list(map(session.receive, frames))
    assert generation.pictures[0].reason is None


def test_a_viewer_need_not_know_where_a_picture_was_to_stop() -> None:
    session = greeted()
    generation, _ = session.watch(bytes(16))
    for frame in (accepted(), rows(0, 2), done(2, reason=DoneReason.STOP_ROW)):
        session.receive(frame)
    assert generation.pictures[0].reason is DoneReason.STOP_ROW


def test_ids_have_the_bytes_that_the_codebook_needs() -> None:
    session = ClientSession()
    session.hello()
    with pytest.raises(ProtocolError, match="96 ids of 4 bytes"):
        session.receive(welcome(replace(MODEL, id_bytes=4)))


def test_no_frame_raises_anything_but_a_protocol_error() -> None:
    """Any bytes, in any order: a session that raised something else would leave a shell waiting."""
    chance = random.Random(1)

    def any_message() -> bytes:
        stream, row = chance.randrange(4), chance.randrange(6)
        makers: list[Callable[[], bytes]] = [
            lambda: accepted(
                stream,
                image=chance.randrange(3),
                first_row=chance.choice([0, 0, row]),
                model=chance.choice(["tiny", "tiny", "other"]),
                rows=chance.choice([4, 4, 64]),
                id_bytes=chance.choice([2, 2, 4]),
            ),
            lambda: encode(Rows(stream, row, chance.randbytes(chance.choice([8, 8, 16, 7])))),
            lambda: rows(row, stream=stream),
            lambda: done(chance.randrange(5), stream),
            lambda: encode(Error(stream, chance.choice(["gone", "busy"]), 5, "no")),
            lambda: encode(Queued(stream, row)),
            lambda: chance.randbytes(chance.randrange(20)),
        ]
        frame = chance.choice(makers)()
        if chance.random() < 0.2 and frame:
            spot = chance.randrange(len(frame))
            frame = frame[:spot] + chance.randbytes(1) + frame[spot + 1 :]
        return frame

    for _ in range(400):
        session, generation = started(3)
        session.watch(bytes(16))
        for _ in range(12):
            try:
                session.receive(any_message())
                taken(generation)
            except (ProtocolError, RequestRefused):
                break
        session.hello()
        session.receive(welcome())
        session.resume()


# Refusals


@pytest.mark.parametrize(("code", "kind"), [("busy", RequestRefused), ("gone", PictureGone)])
def test_one_picture_fails_alone_and_the_request_tells_when_the_others_have_ended(
    code: str, kind: type[RequestRefused]
) -> None:
    session, generation = started(3)
    failed = encode(Error(1, code, 2_000, "not now"))
    for frame in (accepted(0), accepted(1), rows(0, stream=1), rows(0), failed):
        session.receive(frame)
    *_, told = taken(generation)
    assert isinstance(told, PictureFailed)
    assert (told.index, told.picture.rows_held) == (1, 1)
    error = told.error
    assert type(error) is kind
    assert (error.code, error.text, error.retry_seconds, error.index) == (code, "not now", 2.0, 1)
    assert not generation.ended
    assert [message_of(frame) for frame in session.cancel(generation)] == [Cancel(0), Cancel(2)]
    for frame in (rows(1, 3), done(), encode(Error(2, "internal", 0, "broken"))):
        session.receive(frame)
    assert generation.ended
    told = [generation.take(), generation.take()]
    assert [type(event) for event in told] == [RowsArrived, PictureDone]
    with pytest.raises(kind, match="picture 1: not now") as caught:
        generation.take()
    assert caught.value is error
    assert [picture.rows_held for picture in error.pictures] == [4, 1]


def test_one_picture_of_several_that_are_watched_may_be_gone() -> None:
    session = greeted()
    generation, _ = session.watch(bytes(16), 2)
    session.receive(encode(Error(0, "gone", 0, "no such picture")))
    assert not generation.ended
    for frame in (accepted(1, image=1), rows(0, 4, stream=1), done(stream=1)):
        session.receive(frame)
    told = [generation.take() for _ in range(3)]
    assert isinstance(told[-1], PictureDone)
    with pytest.raises(PictureGone, match="picture 0: no such picture"):
        generation.take()


def test_a_start_that_is_refused_is_refused_as_one() -> None:
    session, generation = started(3)
    session.receive(encode(Error(0, "bad_prompt", 0, "no")))
    assert generation.ended
    with pytest.raises(RequestRefused, match=r"^no \[bad_prompt\]$"):
        generation.take()


def test_a_refusal_for_good_has_no_retry_time() -> None:
    session, generation = started()
    session.receive(encode(Error(0, "bad_prompt", 0, "no")))
    with pytest.raises(RequestRefused) as caught:
        generation.take()
    assert caught.value.retry_seconds is None


def test_one_generation_fails_alone() -> None:
    session, first = started()
    second, _ = session.start(Request(PROMPT))
    session.receive(encode(Error(0, "busy", 1, "no")))
    session.receive(accepted(1, image=0))
    assert first.ended
    assert kinds(second) == ["PictureAccepted"]


def test_each_generation_fails_with_its_own_pictures() -> None:
    session, first = started()
    second, _ = session.start(Request(PROMPT))
    session.receive(accepted(0))
    session.receive(rows(0))
    session.fail(ConnectionLost("the connection broke", 1006))
    with pytest.raises(ConnectionLost) as caught:
        taken(first)
    assert [picture.rows_held for picture in caught.value.pictures] == [1]
    with pytest.raises(ConnectionLost) as caught:
        taken(second)
    assert caught.value.pictures == ()
    assert caught.value.code == 1006
