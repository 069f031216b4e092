"""The client's side of the protocol, frame by frame, with the server's frames made by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from rowcast.errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    PictureGone,
    ProtocolError,
    RequestRefused,
)
from rowcast.events import Event, PictureAccepted, PictureDone, PictureQueued, RowsArrived
from rowcast.generation import Generation
from rowcast.messages import (
    Cancel,
    ClientMessage,
    Done,
    DoneReason,
    Error,
    GoAway,
    Hello,
    Ping,
    Pong,
    Queued,
    Rows,
    Start,
    Watch,
    decode_client,
    encode,
    ids_checksum,
    may_reconnect,
    view_key,
)
from rowcast.requests import Request
from rowcast.session import ClientSession
from rowcast.transport import closed_text

from tests.support.fake_server import (
    MODEL,
    accepted,
    done,
    ids_of,
    ids_until,
    rows,
    welcome,
)

PROMPT = "a red boat"


def greeted(**limits: Any) -> ClientSession:
    session = ClientSession()
    session.hello()
    session.receive(welcome(**limits))
    return session


def started(images: int = 1, **options: Any) -> tuple[ClientSession, Generation]:
    session = greeted()
    generation, _ = session.start(Request(PROMPT, images, **options))
    return session, generation


def taken(generation: Generation) -> list[Event]:
    events = []
    while (event := generation.take()) is not None:
        events.append(event)
    return events


def kinds(generation: Generation) -> list[str]:
    return [type(event).__name__ for event in taken(generation)]


def message_of(frame: bytes) -> ClientMessage:
    message = decode_client(frame)
    assert message is not None
    return message


def the_start(frames: list[bytes]) -> Start:
    (frame,) = frames
    message = message_of(frame)
    assert isinstance(message, Start)
    return message


# Greeting


def test_hello_carries_the_token() -> None:
    assert message_of(ClientSession("secret").hello()) == Hello("secret", "rowcast-python")


@pytest.mark.parametrize("token", ["\ud800", "x" * 1_025])
def test_a_token_that_cannot_be_one_is_refused_at_once(token: str) -> None:
    with pytest.raises(InvalidRequest):
        ClientSession(token)


def test_nothing_can_be_asked_before_the_welcome() -> None:
    with pytest.raises(ConnectionFailed, match="with"):
        ClientSession().start(Request(PROMPT))


@pytest.mark.parametrize(
    "frame",
    [accepted(), encode(Pong(1)), encode(GoAway(1)), b"\x92\x28\x01", b"\xc0", b"", "hello"],
)
def test_the_welcome_comes_first(frame: bytes | str) -> None:
    session = ClientSession()
    session.hello()
    with pytest.raises(ProtocolError):
        session.receive(frame)


def test_the_welcome_comes_once_a_socket() -> None:
    session = greeted()
    with pytest.raises(ProtocolError, match="second welcome"):
        session.receive(welcome())
    session.hello()  # on the next socket
    session.receive(welcome())


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 1e300])
def test_an_announced_sampling_must_be_possible(number: float) -> None:
    ranges = replace(MODEL.sampling, top_k=replace(MODEL.sampling.top_k, default=number))
    session = ClientSession()
    session.hello()
    with pytest.raises(ProtocolError, match="sampling"):
        session.receive(welcome(replace(MODEL, sampling=ranges)))


# Asking


def test_start_says_what_was_asked_and_leaves_the_rest_to_the_server() -> None:
    session = greeted()
    _, frames = session.start(Request(PROMPT, 2, seed=3, temperature=0.5, stop_row=2))
    start = the_start(frames)
    assert (start.stream, start.prompt, start.images) == (0, PROMPT, 2)
    options = start.options
    assert (options.seed, options.temperature, options.stop_row) == (3, 0.5, 2)
    assert (options.top_k, options.guidance, options.model, options.prefix) == (None,) * 4


def test_every_start_has_a_key_of_its_own() -> None:
    session = greeted()
    keys = {the_start(session.start(Request(PROMPT))[1]).key for _ in range(8)}
    assert len(keys) == 8


def test_streams_are_the_lowest_free_run() -> None:
    session = greeted()
    first, _ = session.start(Request(PROMPT, 2))
    second, _ = session.start(Request(PROMPT))
    session.receive(accepted(1))
    session.receive(done(0, stream=1, reason=DoneReason.CANCELLED))
    third, _ = session.start(Request(PROMPT, 2))
    fourth, _ = session.start(Request(PROMPT))
    streams = [[slot.stream for slot in each.slots] for each in (first, second, third, fourth)]
    assert streams == [[0, 1], [2], [3, 4], [1]]


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (Request(""), "empty"),
        (Request(" \t\n"), "empty"),
        (Request("x" * 10_000), "10000 bytes; the server takes at most 2000"),
        (Request("\ud800"), "no valid text"),
        (Request(PROMPT, 0), "images must be a whole number from 1 to 64, not 0"),
        (Request(PROMPT, 1_000), "images must be"),
        (Request(PROMPT, True), "images must be"),
        (Request(PROMPT, first_image=-1), "first_image"),
        (Request(PROMPT, 2, first_image=65_535), "first_image"),
        (Request(PROMPT, seed=-1), "seed must be a whole number from 0 to 4294967295, not -1"),
        (Request(PROMPT, seed=2**32), "seed"),
        (Request(PROMPT, seed=1.5), "seed"),  # type: ignore[arg-type]
        (Request(PROMPT, temperature=0), "temperature must be from 0.01 to 10, not 0"),
        (Request(PROMPT, temperature=math.nan), "temperature"),
        (Request(PROMPT, temperature=math.inf), "temperature"),
        (Request(PROMPT, temperature=True), "temperature"),
        (Request(PROMPT, temperature="hot"), "temperature"),  # type: ignore[arg-type]
        (Request(PROMPT, top_k=-1), "top_k"),
        (Request(PROMPT, top_k=97), "top_k must be from 0 to 96, not 97"),
        (Request(PROMPT, top_k=1.5), "top_k"),  # type: ignore[arg-type]
        (Request(PROMPT, top_p=0.0), "top_p"),
        (Request(PROMPT, guidance=-1.0), "guidance"),
        (Request(PROMPT, stop_row=0), "stop_row must be a whole number from 1 to 4, not 0"),
        (Request(PROMPT, stop_row=17), "stop_row"),
        (Request(PROMPT, model="other"), "unknown model 'other'; the server has tiny"),
        (Request(PROMPT, revision=b"short"), "8 bytes"),
        (Request(PROMPT, prefix=bytes(5_000)), "bytes; the limit is 4096"),
    ],
)
def test_what_no_server_accepts_is_refused_here(request_: Request, fault: str) -> None:
    session = greeted()
    with pytest.raises(InvalidRequest, match=fault):
        session.start(request_)
    assert session.active == ()
    session.start(Request(PROMPT))  # and nothing is left behind


@pytest.mark.parametrize(
    ("key", "images"), [(b"short", 1), (bytes(17), 1), (bytes(16), 0), (bytes(16), 1_000)]
)
def test_a_watch_that_no_server_accepts_is_refused_here(key: bytes, images: int) -> None:
    with pytest.raises(InvalidRequest):
        greeted().watch(key, images)


def test_streams_run_out_in_words() -> None:
    session = greeted(streams=65_536, images=4_096)
    for _ in range(16):
        session.start(Request(PROMPT, 4_096))
    with pytest.raises(InvalidRequest, match="no free streams"):
        session.start(Request(PROMPT))


# Rows become events


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
    session.receive(accepted(text_cut=cut))
    (event,) = taken(generation)
    assert event.picture.text_cut == cut


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
    assert session.going_away_ms == 500
    assert not generation.ended


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
        ([accepted(first_row=2)], "no whole rows"),
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
def test_a_refusal_carries_its_code_and_what_had_arrived(
    code: str, kind: type[RequestRefused]
) -> None:
    session, generation = started(2)
    for frame in (accepted(0), rows(0), encode(Error(1, code, 2_000, "not now"))):
        session.receive(frame)
    assert generation.ended
    told = [generation.take(), generation.take()]
    assert [type(event) for event in told] == [PictureAccepted, RowsArrived]
    with pytest.raises(kind) as caught:
        generation.take()
    error = caught.value
    assert (error.code, error.text, error.retry_seconds) == (code, "not now", 2.0)
    assert [picture.rows_held for picture in error.pictures] == [1]
    assert [message_of(frame) for frame in session.cancel(generation)] == [Cancel(0)]


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


def test_another_revision_never_goes_on_with_a_picture() -> None:
    session, generation = started()
    session.receive(accepted())
    session.receive(rows(0))
    resumed(session)
    session.receive(encode(Error(0, "wrong_revision", 0, "tiny is at another revision")))
    with pytest.raises(RequestRefused) as caught:
        taken(generation)
    assert (caught.value.code, caught.value.pictures[0].rows_held) == ("wrong_revision", 1)


# Continuing a picture


def finished(row_count: int) -> Any:
    session, generation = started(temperature=0.5)
    session.receive(accepted())
    if row_count:
        session.receive(rows(0, row_count))
    return generation.pictures[0]


def test_continuing_states_everything_that_determines_the_picture() -> None:
    picture = finished(3)
    request = Request.continuing(picture, 2, None)
    options = request.options
    assert (request.prompt, options.seed, options.prefix) == (PROMPT, 7, ids_until(2))
    assert (options.model, options.revision, options.first_image) == ("tiny", MODEL.revision, 0)
    assert (options.temperature, options.top_k) == (0.5, 32)


def test_another_seed_forks() -> None:
    request = Request.continuing(finished(4), 1, 99)
    assert (request.options.seed, request.options.prefix) == (99, ids_of(0))


def test_all_rows_held_are_kept_unless_told_otherwise() -> None:
    assert Request.continuing(finished(3), None, None).options.prefix == ids_until(3)
    assert Request.continuing(finished(0), None, None).options.prefix is None
    assert Request.continuing(finished(3), 0, 5).options.prefix is None


@pytest.mark.parametrize(("held", "row"), [(4, None), (4, 4), (2, 3), (2, -1), (2, 17)])
def test_continuing_needs_rows_that_are_held_and_some_that_are_not(
    held: int, row: int | None
) -> None:
    with pytest.raises(InvalidRequest):
        Request.continuing(finished(held), row, 5)


# Closed connections


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        (None, True),
        (1006, True),
        (1001, True),
        (1011, True),
        (1012, True),
        (1000, False),
        (1009, False),
        (4400, False),
        (4403, False),
        (4413, False),
        (4444, False),
        (4501, True),
        (4508, True),
        (4555, True),
    ],
)
def test_close_codes_say_whether_to_come_back(code: int | None, retry: bool) -> None:
    assert may_reconnect(code) is retry


def test_close_codes_are_told_in_words() -> None:
    assert "token" in closed_text(4403, "")
    assert closed_text(None, "") == "the connection broke"
    assert closed_text(4400, "no array") == "the server closed it (close code 4400: no array)"


def test_progress_grows_with_rows_and_ends_alone() -> None:
    session, _ = started()
    before = session.progress
    session.receive(accepted())
    session.receive(encode(Queued(0, 0)))
    session.receive(encode(Done(0, 0, 0, 1, DoneReason.CANCELLED)))
    assert session.progress == before + 1
