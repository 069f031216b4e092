"""Leaving pictures, and taking them up on a new socket."""

from __future__ import annotations

import pytest
from rowcast.errors import (
    ConnectionLost,
    PictureGone,
    RequestRefused,
)
from rowcast.messages import (
    Cancel,
    ClientMessage,
    DoneReason,
    Error,
    Start,
    Watch,
    encode,
    ids_checksum,
    view_key,
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
    the_start,
)
from tests.support.fake_server import (
    MODEL,
    accepted,
    done,
    ids_of,
    ids_until,
    rows,
    welcome,
)

# Leaving


def test_cancel_names_the_streams_that_have_not_ended() -> None:
    session, generation = started(3)
    session.receive(accepted(1))
    session.receive(done(0, stream=1, reason=DoneReason.CANCELLED))
    cancels = [message_of(frame) for frame in session.cancel(generation)]
    assert cancels == [Cancel(0), Cancel(2)]


def test_frames_that_come_after_leaving_are_dropped() -> None:
    session, generation = started()
    session.receive(accepted())
    generation.abandon()
    for frame in (rows(0), done(1, reason=DoneReason.CANCELLED)):
        assert session.receive(frame) == []
    again, _ = session.start(Request(PROMPT))
    assert [slot.stream for slot in again.slots] == [0]  # the stream is free again


def test_what_has_failed_cancels_no_stream_that_another_request_has_by_now() -> None:
    session, failed = started()
    session.fail(ConnectionLost("gone"))
    session.start(Request(PROMPT))  # on the same stream
    assert session.cancel(failed) == []


def test_closing_cancels_what_forms_and_fails_whoever_waits() -> None:
    session, generation = started()
    session.receive(accepted())
    session.receive(rows(0))
    assert [message_of(frame) for frame in session.close()] == [Cancel(0)]
    with pytest.raises(ConnectionLost, match="closed") as caught:
        taken(generation)
    assert caught.value.pictures[0].rows_held == 1
    assert session.close() == []


# Resuming on a new socket


def resumed(session: ClientSession) -> list[ClientMessage]:
    session.hello()
    session.receive(welcome())
    return [message_of(frame) for frame in session.resume()]


def test_a_start_that_may_have_been_lost_is_repeated_unchanged() -> None:
    session = greeted()
    _, frames = session.start(Request(PROMPT, 3, temperature=0.5))
    assert resumed(session) == [the_start(frames)]


def test_a_forming_picture_is_taken_up_by_its_owner() -> None:
    session = greeted()
    generation, frames = session.start(Request(PROMPT, stop_row=3, temperature=0.5))
    session.receive(accepted())
    session.receive(rows(0, 2))
    (start,) = resumed(session)
    assert isinstance(start, Start)
    assert (start.key, start.stream, start.images) == (the_start(frames).key, 0, 1)
    options = start.options
    assert (options.seed, options.prefix, options.revision) == (7, ids_until(2), MODEL.revision)
    assert (options.stop_row, options.temperature) == (3, 0.5)
    assert (options.model, options.top_k, options.top_p, options.guidance) == ("tiny", 32, 1.0, 4.0)
    session.receive(accepted(first_row=2))
    session.receive(rows(2))
    session.receive(done(3, reason=DoneReason.STOP_ROW))
    assert generation.pictures[0].held_bytes == ids_until(3)
    assert kinds(generation) == ["PictureAccepted", "RowsArrived", "PictureDone"]


def test_the_rest_of_a_request_keeps_the_seed_of_what_was_accepted() -> None:
    session, _ = started(2)
    session.receive(accepted(0, seed=41))
    first, second = resumed(session)
    assert isinstance(first, Start)
    assert isinstance(second, Start)
    assert (second.stream, second.options.first_image, second.images) == (1, 1, 1)
    assert second.options.seed == 41
    assert second.options.prefix is None


def test_only_the_end_is_asked_for_where_all_rows_are_held() -> None:
    session = greeted()
    generation, frames = session.start(Request(PROMPT))
    session.receive(accepted())
    session.receive(rows(0, 4))
    (watch,) = resumed(session)
    assert watch == Watch(0, view_key(the_start(frames).key), 0, 4, ids_checksum(ids_until(4)))
    session.receive(encode(Error(0, "gone", 0, "no such picture")))
    assert kinds(generation)[-1] == "PictureDone"  # nothing was left to draw
    assert generation.pictures[0].reason is DoneReason.COMPLETE


def test_a_watched_picture_is_watched_again() -> None:
    session = greeted()
    generation, frames = session.watch(bytes(16))
    assert message_of(frames[0]) == Watch(0, bytes(16), 0, 0, 0)
    session.receive(accepted())
    session.receive(rows(0))
    assert resumed(session) == [Watch(0, bytes(16), 0, 1, ids_checksum(ids_of(0)))]
    session.receive(encode(Error(0, "gone", 0, "no such picture")))
    with pytest.raises(PictureGone) as caught:
        taken(generation)
    assert caught.value.pictures[0].rows_held == 1


def test_what_was_left_or_has_ended_is_not_taken_up() -> None:
    session, left = started()
    session.receive(accepted())
    left.abandon()
    ended, _ = session.start(Request(PROMPT))
    session.receive(accepted(1, image=0))
    session.receive(done(0, stream=1, reason=DoneReason.CANCELLED))
    assert session.active == ()
    assert resumed(session) == []
    assert ended.ended


def test_what_was_refused_is_not_asked_for_on_the_next_socket() -> None:
    """Its other errors were lost with the link; a stream of it may be another request's by now."""
    session, refused = started(images=2)
    session.receive(encode(Error(0, "bad_prompt", 0, "no")))
    assert refused.ended
    session.start(Request("another"))
    session.hello()
    session.receive(welcome())
    start = the_start(session.resume())
    assert (start.stream, start.prompt) == (0, "another")


def test_another_revision_never_goes_on_with_a_picture() -> None:
    session, generation = started()
    session.receive(accepted())
    session.receive(rows(0))
    resumed(session)
    session.receive(encode(Error(0, "wrong_revision", 0, "tiny is at another revision")))
    with pytest.raises(RequestRefused) as caught:
        taken(generation)
    assert (caught.value.code, caught.value.pictures[0].rows_held) == ("wrong_revision", 1)


def test_a_server_that_takes_shorter_frames_is_not_asked_to_go_on() -> None:
    session = greeted(client_frame_bytes=8_192, prompt_bytes=8_192)
    long, _ = session.start(Request("x" * 5_000))
    short, _ = session.start(Request(PROMPT))
    session.receive(accepted(0))
    session.receive(rows(0))
    session.hello()
    session.receive(welcome())  # which takes 4,096 bytes
    (frame,) = session.resume()
    start = message_of(frame)
    assert isinstance(start, Start)
    assert (start.stream, start.prompt) == (1, PROMPT)
    assert [type(long.take()).__name__ for _ in range(2)] == ["PictureAccepted", "RowsArrived"]
    with pytest.raises(ConnectionLost, match="takes 4096 bytes, too few") as caught:
        long.take()
    assert caught.value.pictures[0].rows_held == 1
    assert not short.ended
    again, _ = session.start(Request(PROMPT))
    assert again.slots[0].stream == 0  # it is free
