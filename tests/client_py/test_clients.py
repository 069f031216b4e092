"""Both clients, against real servers over real sockets: whatever happens, nothing that had arrived
is lost, nothing waits for ever, and the next picture can be drawn."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rowcast
from rowcast.errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    PictureGone,
    ProtocolError,
    RequestRefused,
)
from rowcast.events import Event, PictureAccepted, PictureDone, RowsArrived
from rowcast.messages import CloseCode, DoneReason, Ping, Rows, encode, view_key
from rowcast_server.server import RowcastServer
from websockets.exceptions import ConnectionClosed

from tests.support.fake_server import (
    Peer,
    accepted,
    done,
    fake_server,
    ids_until,
    rows,
    welcome,
)
from tests.support.pace import paced_server
from tests.support.proxy import proxy
from tests.support.servers import running_server
from tests.support.shells import SHELLS, Client, Connect
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang

PROMPT = "a red boat"


@pytest.fixture(params=SHELLS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return SHELLS[request.param]


@pytest.fixture(scope="module")
def undisturbed(tiny_server: RowcastServer) -> list[list[int]]:
    """The ids of the picture of PROMPT with seed 5, drawn in peace."""
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        return ids(client.pictures(PROMPT, seed=5)[0])


def ids(event: Event) -> list[list[int]]:
    grid: list[list[int]] = event.picture.grid.tolist()
    return grid


def first_rows(events: Iterator[Event]) -> RowsArrived:
    """The first rows of a picture; the iterator can be used further."""
    return next(event for event in events if isinstance(event, RowsArrived))


def opens(connect: Connect, url: str, **options: Any) -> None:
    with connect(url, **options):
        pass


def draws_another(client: Client) -> None:
    (done,) = client.pictures(PROMPT, seed=6)
    assert done.reason is DoneReason.COMPLETE


# Pictures form


def test_a_picture_forms_row_by_row(connect: Connect, tiny_server: RowcastServer) -> None:
    with connect(tiny_server.ws_url) as client:
        events = list(client.generate(PROMPT, seed=5))
    assert isinstance(events[0], PictureAccepted)
    drawn = [event for event in events if isinstance(event, RowsArrived)]
    assert drawn[0].first_row == 0
    for before, after in itertools.pairwise(drawn):
        assert after.first_row == before.first_row + len(before.rows)
    end = events[-1]
    assert isinstance(end, PictureDone)
    assert end.reason is DoneReason.COMPLETE
    assert np.concatenate([event.rows for event in drawn]).tolist() == ids(end)
    assert {event.seed for event in events} == {5}
    assert all(event.image is not None and event.image.size == (16, 16) for event in drawn)


def test_the_last_image_is_the_decode_of_the_whole_picture(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url) as client:
        (end,) = client.pictures(PROMPT)
        assert client.detokenizer is not None
        whole = client.detokenizer.decode(end.picture.grid[None])[0]
    assert np.array_equal(np.asarray(end.image), whole)


def test_the_same_seed_draws_the_same_ids(
    connect: Connect, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        again = client.pictures(PROMPT, seed=5)
        other = client.pictures(PROMPT, seed=2**32 - 1)
    assert [ids(picture) for picture in again] == [undisturbed]
    assert [ids(picture) for picture in other] != [undisturbed]


def test_pictures_come_in_the_order_they_were_asked_for(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        together = client.pictures(PROMPT, 6, seed=5)
        alone = client.pictures(PROMPT, seed=5, first_image=4)
    assert [picture.index for picture in together] == [0, 1, 2, 3, 4, 5]
    assert [picture.picture.recipe.image for picture in together] == [0, 1, 2, 3, 4, 5]
    assert len({str(ids(picture)) for picture in together}) == 6
    assert ids(alone[0]) == ids(together[4])


def test_without_decoding_nothing_is_fetched(
    connect: Connect, tiny_server: RowcastServer, own_cache: Path
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        assert all(event.image is None for event in client.generate(PROMPT))
        assert client.detokenizer is None
    assert not own_cache.exists()


def test_a_picture_stops_early_and_is_finished_later(
    connect: Connect, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with connect(tiny_server.ws_url) as client:
        (stopped,) = client.pictures(PROMPT, seed=5, stop_row=2)
        assert stopped.reason is DoneReason.STOP_ROW
        assert ids(stopped) == undisturbed[:2]
        events = list(client.continue_picture(stopped.picture))
    assert ids(events[-1]) == undisturbed
    assert first_rows(iter(events)).first_row == 2
    assert events[0].image is not None  # the rows that were there from the start


def test_a_fork_keeps_its_first_rows_and_draws_other_ones_below(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        (whole,) = client.pictures(PROMPT, seed=5)
        *_, fork = client.continue_picture(whole.picture, 1, seed=99)
    assert ids(fork)[0] == ids(whole)[0]
    assert ids(fork)[1:] != ids(whole)[1:]
    assert fork.seed == 99


def test_somebody_else_watches_by_the_view_key(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        connect(server.ws_url) as owner,
        connect(server.ws_url) as viewer,
    ):
        events = owner.generate(PROMPT, 2, seed=5)
        next(events)
        key = view_key(owner.session.active[0].key)  # while both are being drawn
        gate.open()
        *_, end = events
        seen = [event for event in viewer.watch(key, 2) if isinstance(event, PictureDone)]
        assert str(ids(end)) in {str(ids(event)) for event in seen}
        assert len(seen) == 2
        with pytest.raises(PictureGone) as caught:
            list(viewer.watch(bytes(16)))
        assert caught.value.retry_seconds is None
        draws_another(viewer)


def test_bytes_received_are_those_of_the_frames(connect: Connect) -> None:
    frames = [accepted(), rows(0), rows(1, 3), done()]

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(*frames)
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        before = client.bytes_received
        client.pictures(PROMPT)
        assert before == len(welcome()) + 4
        assert client.bytes_received - before == sum(len(frame) + 2 for frame in frames)


# What a caller gets wrong


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "x" * 10_000}, "10000 bytes"),
        ({"prompt": "a \ud800"}, "no valid text"),
        ({"images": 0}, "images must be"),
        ({"images": 1_000}, "images must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"model": "other"}, "unknown model 'other'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"stop_row": 0}, "stop_row must be"),
        ({"stop_row": 17}, "stop_row must be"),
    ],
)
def test_a_request_that_cannot_be_is_told_at_once(
    connect: Connect, tiny_server: RowcastServer, arguments: dict[str, Any], fault: str
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        with pytest.raises(InvalidRequest, match=fault):
            client.pictures(**({"prompt": PROMPT} | arguments))
        draws_another(client)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"prefix": b"\0"}, "bad_prefix"),
        ({"prefix": b"\xff" * 8}, "bad_prefix"),
        ({"prefix": bytes(16), "stop_row": 2}, "bad_prefix"),
        ({"revision": bytes(8)}, "wrong_revision"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(
    connect: Connect, tiny_server: RowcastServer, arguments: dict[str, Any], code: str
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        with pytest.raises(RequestRefused) as caught:
            client.pictures(PROMPT, **arguments)
        assert caught.value.code == code
        assert caught.value.retry_seconds is None
        draws_another(client)


def test_a_full_server_says_when_to_try_again(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder, slots=1, queue_limit=1) as (server, gate),
        connect(server.ws_url, decode=False) as client,
    ):
        with pytest.raises(RequestRefused) as caught:
            client.pictures(PROMPT, 8)
        assert caught.value.code == "busy"
        assert caught.value.retry_seconds is not None
        gate.open()
        for _ in range(100):  # until the engine has heard that the others are cancelled
            try:
                draws_another(client)
                break
            except RequestRefused:
                time.sleep(0.05)
        else:
            pytest.fail("it stays full")


def test_a_client_is_used_in_a_with_block(connect: Connect, tiny_server: RowcastServer) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        session = client.session
    assert session.active == ()
    never_opened = rowcast.connect_sync(tiny_server.ws_url)
    with pytest.raises(ConnectionFailed, match="with"):
        next(never_opened.generate(PROMPT))


def test_a_closed_client_says_so(tiny_server: RowcastServer) -> None:
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        pass
    with pytest.raises(ConnectionFailed, match="closed"):
        next(client.generate(PROMPT))

    async def asynchronous() -> None:
        async with rowcast.connect(tiny_server.ws_url, decode=False) as client:
            pass
        with pytest.raises(ConnectionFailed, match="closed"):
            await anext(client.generate(PROMPT))

    asyncio.run(asynchronous())


# No server, or none of ours


@pytest.mark.parametrize(
    "url",
    ["localhost:8765", "http://127.0.0.1:1", "", "ws://", "ws://h:99999", "ws://h:x", "ws://[::1"],
)
def test_an_address_that_is_none(connect: Connect, url: str) -> None:
    with pytest.raises(ConnectionFailed, match="use ws://host:port"):
        opens(connect, url)


def test_nothing_listens(connect: Connect) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="is the server running, is the port right"):
            opens(connect, url)


def test_the_http_port_instead_of_the_websocket(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    url = tiny_server.http_url.replace("http", "ws")
    with pytest.raises(ConnectionFailed, match="is this the http port"):
        opens(connect, url)


def test_wss_where_there_is_no_tls(connect: Connect, tiny_server: RowcastServer) -> None:
    url = tiny_server.ws_url.replace("ws:", "wss:")
    with pytest.raises(ConnectionFailed, match="does it speak TLS"):
        opens(connect, url)


def test_something_that_never_answers(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ConnectionFailed, match="does not answer"):
            opens(connect, url, open_timeout=0.3)
        assert time.monotonic() - begun < 5


def test_a_websocket_that_is_not_ours(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.connection.wait_closed()

    with (
        fake_server(script, subprotocol=None) as fake,
        pytest.raises(ConnectionFailed, match="but not rowcast"),
    ):
        opens(connect, fake.url)


def test_a_welcome_that_never_comes(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.connection.wait_closed()

    with fake_server(script) as fake, pytest.raises(ConnectionFailed, match="does not answer"):
        opens(connect, fake.url, open_timeout=0.3)


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (rows(0), "no welcome"),
        (b"garbage", "not a message"),
        ("hello", "text frame"),
        (bytes(70_000), "cannot be read"),
    ],
)
def test_a_first_frame_that_is_no_welcome(connect: Connect, frame: bytes | str, fault: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame)
        await peer.connection.wait_closed()

    with fake_server(script) as fake, pytest.raises(ProtocolError, match=fault):
        opens(connect, fake.url)


def test_a_token_is_asked_for(connect: Connect, tiny_folder: Path) -> None:
    with running_server(tiny_folder, tokens=frozenset({"open"})) as server:
        for token in (None, "wrong"):
            with pytest.raises(ConnectionFailed, match="token") as caught:
                opens(connect, server.ws_url, token=token)
            assert caught.value.code == CloseCode.BAD_TOKEN
        with connect(server.ws_url, token="open") as client:
            draws_another(client)


# A server that breaks the protocol

HOSTILE: dict[str, tuple[list[bytes | str], str]] = {
    "garbage": ([b"garbage"], "not a message"),
    "nothing": ([b""], "not a message"),
    "text": (["[4, 0, 2]"], "text frame"),
    "a skipped row": ([rows(3)], "row 3 arrived where row 2 was due"),
    "a repeated row": ([rows(1)], "row 1 arrived where row 2 was due"),
    "half a row": ([encode(Rows(0, 2, b"1234"))], "no whole rows"),
    "too many rows": ([rows(2, 3)], "row 4 of a grid of 4"),
    "an id outside the codebook": ([encode(Rows(0, 2, b"\xff" * 8))], "codebook"),
    "rows of a stream not accepted": ([rows(0, stream=1)], "stream 1 was not accepted"),
    "an end that comes too early": ([done()], "ended with 4 rows"),
    "a wrong checksum": ([rows(2, 2), done(crc32=5)], "crc32"),
    "a second welcome": ([welcome()], "second welcome"),
    "an unknown model": ([accepted(1, model="other")], "was not announced"),
    "a frame over the protocol's limit": (
        [b"\x92\x28\xc5\x4e\x20" + bytes(20_000)],
        "at most 16384",
    ),
    "a frame over the transport's limit": ([bytes(70_000)], "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_server_that_breaks_the_protocol(connect: Connect, name: str) -> None:
    frames, fault = HOSTILE[name]
    closed: list[int | None] = []

    async def hostile(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(0), rows(0, 2), *frames)
        await peer.connection.wait_closed()
        closed.append(peer.connection.close_code)

    async def decent(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(hostile, decent) as fake, connect(fake.url, decode=False) as client:
        with pytest.raises(ProtocolError, match=fault) as caught:
            list(client.generate(PROMPT, 2))
        held = caught.value.pictures[0]
        assert held.held_bytes[: 4 * 2 * 2] == ids_until(2)
        draws_another(client)
        assert fake.connections == 2
    assert closed == [1009 if len(frames[0]) == 70_000 else CloseCode.MALFORMED]


def test_a_link_that_always_breaks_is_given_up(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted())
        peer.drop()

    with fake_server(script) as fake, connect(fake.url, decode=False, reconnect=1) as client:
        begun = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            list(client.generate(PROMPT))
        assert time.monotonic() - begun < 8
        assert len(caught.value.pictures) == 1
        assert 2 <= fake.connections <= 40  # with growing waits, not as fast as it goes


def test_a_server_that_wants_no_more_is_left_alone(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0))
        await peer.connection.close(CloseCode.LIMIT, "enough")

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        with pytest.raises(ConnectionLost, match="enough") as caught:
            list(client.generate(PROMPT))
        assert caught.value.code == CloseCode.LIMIT
        assert caught.value.pictures[0].rows_held == 1
        assert fake.connections == 1


# Links that break


def test_a_broken_link_is_taken_up_where_it_broke(
    connect: Connect, tiny_folder: Path, undisturbed: list[list[int]]
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(link.url) as client,
    ):
        events = client.generate(PROMPT, seed=5)
        gate.allow(rows=2)
        first_rows(events)
        link.cut()
        gate.open()
        *_, end = events
        assert isinstance(end, PictureDone)
        assert ids(end) == undisturbed
        assert link.connections == 2


def test_a_link_that_breaks_before_anything_came(
    connect: Connect, undisturbed: list[list[int]], tiny_server: RowcastServer
) -> None:
    async def vanish(peer: Peer) -> None:
        await peer.greet()
        peer.drop()

    with (
        fake_server(vanish) as fake,
        proxy(fake.url) as link,
        connect(link.url, decode=False) as client,
    ):
        link.target = tiny_server.ws_url  # for the connections after the first
        (end,) = client.pictures(PROMPT, seed=5)
    assert ids(end) == undisturbed


def test_another_server_of_the_same_model_draws_on(
    connect: Connect, tiny_folder: Path, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(link.url) as client,
    ):
        events = client.generate(PROMPT, 2, seed=5)
        gate.allow(rows=2)
        first_rows(events)
        link.target = tiny_server.ws_url
        link.cut()
        ends = {e.index: e for e in events if isinstance(e, PictureDone)}
        assert ids(ends[0]) == undisturbed
        assert [ends[index].reason for index in (0, 1)] == [DoneReason.COMPLETE] * 2


def test_a_server_of_another_revision_does_not_draw_on(
    connect: Connect, tiny_folder: Path, tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    with (
        paced_server(tiny_folder) as (server, gate),
        running_server(other) as stranger,
        proxy(server.ws_url) as link,
        connect(link.url, decode=False) as client,
    ):
        events = client.generate(PROMPT, seed=5)
        gate.allow(rows=1)
        first_rows(events)
        link.target = stranger.ws_url
        link.cut()
        with pytest.raises(RequestRefused) as caught:
            list(events)
        assert caught.value.code == "wrong_revision"
        assert caught.value.pictures[0].rows_held == 1
        draws_another(client)


def test_a_watched_picture_is_gone_with_its_server(
    connect: Connect, tiny_folder: Path, tiny_server: RowcastServer
) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(server.ws_url, decode=False) as owner,
        connect(link.url, decode=False) as viewer,
    ):
        owned = owner.generate(PROMPT)
        next(owned)
        watched = viewer.watch(view_key(owner.session.active[0].key))
        gate.allow(rows=1)
        first_rows(watched)
        link.target = tiny_server.ws_url
        link.cut()
        with pytest.raises(PictureGone) as caught:
            list(watched)
        assert caught.value.pictures[0].rows_held == 1


def test_a_connection_lost_while_idle_is_opened_again(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with proxy(tiny_server.ws_url) as link, connect(link.url, decode=False) as client:
        draws_another(client)
        link.cut()
        time.sleep(0.1)  # both ends notice
        (end, *_) = client.pictures(PROMPT, 3, seed=5)
        assert end.seed == 5
        assert link.connections == 2


def test_a_server_that_dies_leaves_what_had_arrived(connect: Connect, tmp_path: Path) -> None:
    large = tiny_model(tmp_path / "large", rows=64, cols=64)  # seconds to draw
    command = [sys.executable, "-m", "rowcast", "serve", "--model", str(large)]
    command += ["--threads", "1", "--port", "0", "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            with connect(url, decode=False, reconnect=0.5) as client:
                events = client.generate(PROMPT, seed=5)
                held = first_rows(events).rows
                process.kill()
                process.wait()
                with pytest.raises(ConnectionLost, match="reconnecting failed") as caught:
                    list(events)
        finally:
            process.kill()
    (picture,) = caught.value.pictures
    assert 0 < picture.rows_held < 64
    assert np.array_equal(picture.grid[: len(held)], held)


# Leaving


def reason_of_the_end(server: RowcastServer, key: bytes) -> DoneReason | int:
    with rowcast.connect_sync(server.ws_url, decode=False) as viewer:
        *_, end = viewer.watch(view_key(key))
        assert isinstance(end, PictureDone)
        return end.reason


def test_leaving_the_loop_cancels_on_the_server(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder, slots=1) as (server, gate),
        connect(server.ws_url, decode=False) as client,
    ):
        gate.allow(rows=1)
        for event in client.generate(PROMPT):
            if isinstance(event, RowsArrived):
                key = client.session.active[0].key
                break
        assert reason_of_the_end(server, key) is DoneReason.CANCELLED
        gate.open()
        draws_another(client)  # in the only slot


def test_leaving_after_the_link_broke_cancels_too(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        proxy(server.ws_url) as link,
        connect(link.url, decode=False) as client,
    ):
        gate.allow(rows=1)
        events = client.generate(PROMPT)
        first_rows(events)
        key = client.session.active[0].key
        link.cut()
        gate.allow(rows=1)
        first_rows(events)
        events.close()
        assert reason_of_the_end(server, key) is DoneReason.CANCELLED


def test_closing_the_client_cancels_on_the_server(connect: Connect, tiny_folder: Path) -> None:
    with paced_server(tiny_folder) as (server, gate):
        with connect(server.ws_url, decode=False) as client:
            gate.allow(rows=1)
            events = client.generate(PROMPT)
            first_rows(events)
            key = client.session.active[0].key
        assert reason_of_the_end(server, key) is DoneReason.CANCELLED


def test_a_viewer_that_leaves_does_not_end_the_picture(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder) as (server, gate),
        connect(server.ws_url, decode=False) as owner,
        connect(server.ws_url, decode=False) as viewer,
    ):
        owned = owner.generate(PROMPT)
        next(owned)
        watched = viewer.watch(view_key(owner.session.active[0].key))
        gate.allow(rows=1)
        first_rows(watched)
        watched.close()
        gate.open()
        *_, end = owned
        assert isinstance(end, PictureDone)
        assert end.reason is DoneReason.COMPLETE


# Pace


def test_a_slow_consumer_gets_fewer_larger_events_and_never_stale_ones(connect: Connect) -> None:
    sent, go_on = threading.Event(), threading.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0))
        await asyncio.to_thread(go_on.wait)
        await peer.send(rows(1), rows(2), rows(3))
        await (await peer.connection.ping())  # answered once all before it has been read
        sent.set()
        await peer.send(done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        events = client.generate(PROMPT)
        assert first_rows(events).first_row == 0
        go_on.set()
        assert sent.wait(10)  # meanwhile this consumer takes nothing
        time.sleep(0.1)
        late = next(events)
        assert isinstance(late, RowsArrived)
        assert (late.first_row, len(late.rows)) == (1, 3)
        assert isinstance(next(events), PictureDone)


def test_pings_are_answered_while_a_picture_forms(connect: Connect) -> None:
    echoes: list[object] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), encode(Ping(77)))
        echoes.append(await peer.receive())
        await peer.send(rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        client.pictures(PROMPT)
    assert [getattr(echo, "echo", None) for echo in echoes] == [77]


def test_a_server_that_never_stops_sending_does_not_keep_events_back(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await peer.send(b"\x92\x28\x00")  # of no use, and allowed

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        assert first_rows(client.generate(PROMPT)).first_row == 0


def test_many_clients_at_once(connect: Connect, tiny_server: RowcastServer) -> None:
    drawn: dict[int, list[list[int]]] = {}

    def draw(seed: int) -> None:
        with connect(tiny_server.ws_url) as client:
            drawn[seed] = ids(client.pictures(PROMPT, seed=seed)[0])

    threads = [threading.Thread(target=draw, args=[seed]) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(tiny_server.ws_url, decode=False) as client:
        assert drawn == {seed: ids(client.pictures(PROMPT, seed=seed)[0]) for seed in range(6)}


# What only the asynchronous client can do


async def begun(client: rowcast.AsyncClient) -> asyncio.Task[None]:
    """A task that follows a picture which has been accepted."""
    accepted = asyncio.Event()

    async def follow() -> None:
        async for _ in client.generate(PROMPT):
            accepted.set()

    task = asyncio.create_task(follow())
    await accepted.wait()
    return task


async def test_several_generations_at_once_on_one_client(tiny_server: RowcastServer) -> None:
    async with rowcast.connect(tiny_server.ws_url) as client:
        together = await asyncio.gather(
            *(client.pictures(PROMPT, 2, seed=seed) for seed in range(5))
        )
        for seed, pictures in enumerate(together):
            alone = await client.pictures(PROMPT, 2, seed=seed)
            assert [ids(picture) for picture in pictures] == [ids(picture) for picture in alone]


async def test_breaking_out_of_a_bare_loop_cancels(tiny_folder: Path) -> None:
    with paced_server(tiny_folder, slots=1) as (server, gate):
        async with rowcast.connect(server.ws_url, decode=False) as client:
            gate.allow(rows=1)
            async for event in client.generate(PROMPT):
                if isinstance(event, RowsArrived):
                    key = client.session.active[0].key
                    break
            assert await asyncio.to_thread(reason_of_the_end, server, key) == DoneReason.CANCELLED
            gate.open()
            assert (await client.pictures(PROMPT))[0].reason is DoneReason.COMPLETE


async def test_a_cancelled_task_cancels_its_pictures(tiny_folder: Path) -> None:
    with paced_server(tiny_folder) as (server, gate):
        async with rowcast.connect(server.ws_url, decode=False) as client:
            task = await begun(client)
            key = client.session.active[0].key
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(reason_of_the_end, server, key) == DoneReason.CANCELLED
            gate.open()


async def test_closing_the_client_ends_whoever_still_waits(tiny_folder: Path) -> None:
    with paced_server(tiny_folder) as (server, _):
        async with rowcast.connect(server.ws_url, decode=False) as client:
            task = await begun(client)
        with pytest.raises(ConnectionLost, match="closed"):
            await task


# One interface


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    return [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(function).parameters.values()
    ]


def test_both_clients_have_the_same_signatures() -> None:
    assert parameters(rowcast.connect) == parameters(rowcast.connect_sync)

    def members(kind: type) -> dict[str, Any]:
        return {name: value for name, value in vars(kind).items() if not name.startswith("_")}

    ours, theirs = members(rowcast.SyncClient), members(rowcast.AsyncClient)
    assert ours.keys() == theirs.keys()
    for name, member in ours.items():
        if callable(member):
            assert parameters(member) == parameters(theirs[name]), name
        else:
            assert type(member) is type(theirs[name])
