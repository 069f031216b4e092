"""The session's greeting, and requests: what is sent, what is refused before it is sent."""

from __future__ import annotations

import math
from importlib import metadata
from typing import Any

import pytest
import rowcast
from msgspec.structs import replace
from rowcast.errors import (
    BeyondLimits,
    ConnectionFailed,
    InvalidRequest,
    ProtocolError,
)
from rowcast.messages import (
    DoneReason,
    GoAway,
    Hello,
    Pong,
    Range,
    encode,
)
from rowcast.requests import Request, check_request
from rowcast.session import ClientSession

from tests.support.client.sessions import (
    PROMPT,
    greeted,
    message_of,
    started,
    the_start,
)
from tests.support.fake_server import (
    LIMITS,
    MODEL,
    accepted,
    done,
    ids_of,
    ids_until,
    rows,
    welcome,
)

# Greeting


def test_hello_carries_the_token_and_who_asks() -> None:
    name = f"rowcast-python {metadata.version('rowcast')}"
    assert message_of(ClientSession("secret").hello()) == Hello("secret", name)


def test_a_program_that_is_not_installed_knows_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata.Distribution, "discover", lambda **_: iter(()))
    assert rowcast.__version__ == "unknown"


def test_hello_prints_without_the_token() -> None:
    assert repr(Hello("secret", "name")) == "Hello(token='***', client='name')"
    assert repr(Hello(None, "name")) == "Hello(token=None, client='name')"


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


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 31.5, 1e300])
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
        (Request("\ud800"), "no valid text"),
        (Request(PROMPT, 0), "images must be a whole number from 1 to 65536, not 0"),
        (Request(PROMPT, 65_537), "images must be"),
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
    ],
)
def test_what_no_server_accepts_is_refused_here(request_: Request, fault: str) -> None:
    session = greeted()
    with pytest.raises(InvalidRequest, match=fault) as refused:
        session.start(request_)
    assert not isinstance(refused.value, BeyondLimits)
    assert session.active == ()
    session.start(Request(PROMPT))  # and nothing is left behind


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (Request("x" * 10_000), "10000 bytes; the server takes at most 2000"),
        (Request(PROMPT, 65), "images must be 1 to 64, not 65: this server takes no more"),
        (Request(PROMPT, prefix=bytes(5_000)), "bytes; the server takes at most 4096"),
    ],
)
def test_what_this_server_does_not_take_is_told_as_its_limit(request_: Request, fault: str) -> None:
    session = greeted()
    with pytest.raises(BeyondLimits, match=fault):
        session.start(request_)
    with pytest.raises(BeyondLimits, match="this server takes no more"):
        session.watch(bytes(16), 1_000)
    assert session.active == ()


@pytest.mark.parametrize(
    ("key", "images"), [(b"short", 1), (bytes(17), 1), (bytes(16), 0), (bytes(16), 65_537)]
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


def test_continuing_may_stop_again_once_there_is_a_row_more() -> None:
    assert Request.continuing(finished(2), None, None, 3).options.stop_row == 3
    assert Request.continuing(finished(2), 1, None, 2).options.stop_row == 2
    for stop_row in (2, 5):
        with pytest.raises(InvalidRequest, match="stop_row must be a whole number from 3 to 4"):
            Request.continuing(finished(2), None, None, stop_row)


def test_what_a_server_does_not_know_is_told_so() -> None:
    sampling = replace(MODEL.sampling, min_p=Range(0.0, 0.0, 0.0))  # as where it is left out
    request = Request(PROMPT, min_p=0.1)
    with pytest.raises(BeyondLimits, match="min_p must be left out: this server does not know it"):
        check_request(request, replace(MODEL, sampling=sampling), LIMITS)


@pytest.mark.parametrize(("held", "row"), [(4, None), (4, 4), (2, 3), (2, -1), (2, 17)])
def test_continuing_needs_rows_that_are_held_and_some_that_are_not(
    held: int, row: int | None
) -> None:
    with pytest.raises(InvalidRequest):
        Request.continuing(finished(held), row, 5)
