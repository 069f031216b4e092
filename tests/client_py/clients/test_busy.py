"""Both clients, and servers that are busy, or about to close: they are asked again (R-51, R-70)."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
import rowcast
from rowcast.errors import ConnectionLost, RequestRefused
from rowcast.events import PictureDone
from rowcast.messages import CloseCode, DoneReason, Error, GoAway, Start, encode
from rowcast_server.server import RowcastServer

from tests.support.client.clients import PROMPT, draws_another, first_rows, ids
from tests.support.client.shells import Connect
from tests.support.fake_server import Peer, accepted, done, fake_server, ids_until, rows, welcome
from tests.support.pace import paced_server
from tests.support.proxy import proxy

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang

BUSY_MS = 300


def busy(stream: int = 0, retry_ms: int = BUSY_MS, code: str = "busy") -> bytes:
    return encode(Error(stream, code, retry_ms, "the queue is full"))


def test_a_busy_server_is_asked_again_when_it_said(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder, slots=1, queue_limit=1) as (server, gate),
        connect(server.ws_url, decode=False) as other,
        connect(server.ws_url, decode=False) as client,
    ):
        taken = other.generate(PROMPT, 2)
        next(taken)
        opens = threading.Timer(0.5, gate.open)
        opens.start()
        draws_another(client)
        assert all(event.picture.complete for event in taken if isinstance(event, PictureDone))


@pytest.mark.parametrize("code", ["busy", "internal", "unheard_of"])
def test_the_same_request_is_repeated_and_not_sooner(
    connect: Connect, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[object, float]] = []

    async def script(peer: Peer) -> None:
        for answer in (None, [busy(0, code=code), busy(1, code=code)]):
            if answer is None:
                message = await peer.greet()
            else:
                await peer.send(*answer)
                message = await peer.receive()
            asked.append((message, time.monotonic()))
        await peer.send(accepted(0), accepted(1), rows(0, 4), rows(0, 4, 1), done(), done(stream=1))
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        ends = client.pictures(PROMPT, 2)
    (first, begun), (second, later) = asked
    assert isinstance(first, Start)
    assert first == second  # with the same key: R-41
    assert BUSY_MS / 1000 <= later - begun < BUSY_MS / 1000 * 1.25 + 2
    assert [end.reason for end in ends] == [DoneReason.COMPLETE] * 2
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["the queue is full; trying again in 0.3 s"]


@pytest.mark.parametrize(
    ("patience", "retry_ms"), [({"wait_when_busy": 0.5}, 200), ({"wait_when_busy": 5}, 3_600_000)]
)
def test_patience_ends_with_what_the_server_said(
    connect: Connect, patience: dict[str, float], retry_ms: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        while True:
            await peer.send(busy(retry_ms=retry_ms))
            await peer.receive()

    with fake_server(script) as fake, connect(fake.url, decode=False, **patience) as client:
        begun = time.monotonic()
        with pytest.raises(RequestRefused, match="the queue is full") as caught:
            client.pictures(PROMPT)
        assert time.monotonic() - begun < 3
        assert caught.value.retry_seconds == retry_ms / 1000


def test_rows_are_not_lost_to_a_busy_server_while_recovering(connect: Connect) -> None:
    """Though a fresh request would not be waited for."""
    prefixes: list[bytes | None] = []

    async def breaks(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0, 2))
        peer.drop()

    async def is_busy(peer: Peer) -> None:
        message = await peer.greet()
        for _ in range(3):
            assert isinstance(message, Start)
            prefixes.append(message.options.prefix)
            if len(prefixes) < 3:
                await peer.send(busy())
                message = await peer.receive()
        await peer.send(accepted(first_row=2), rows(2, 2), done())
        await peer.connection.wait_closed()

    with (
        fake_server(breaks, is_busy) as fake,
        connect(fake.url, decode=False, wait_when_busy=0) as client,
    ):
        (end,) = client.pictures(PROMPT)
    assert prefixes == [ids_until(2)] * 3
    assert end.picture.held_bytes == ids_until(4)


def test_rows_are_told_when_a_busy_server_exhausts_the_patience(connect: Connect) -> None:
    async def breaks(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0, 2))
        peer.drop()

    async def is_busy(peer: Peer) -> None:
        await peer.greet()
        while True:
            await peer.send(busy())
            await peer.receive()

    with (
        fake_server(breaks, is_busy) as fake,
        connect(fake.url, decode=False, reconnect=1) as client,
        pytest.raises(RequestRefused) as caught,
    ):
        client.pictures(PROMPT)
    assert [picture.held_bytes for picture in caught.value.pictures] == [ids_until(2)]


async def test_leaving_while_waiting_asks_no_more() -> None:
    asked: list[object] = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.greet())
        await peer.send(busy(retry_ms=200))
        asked.append(await peer.receive())
        await peer.send(accepted(), rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        async with rowcast.connect(fake.url, decode=False) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.pictures("another prompt"), 0.1)
            await asyncio.sleep(0.3)
            (end,) = await client.pictures(PROMPT)
            assert end.reason is DoneReason.COMPLETE
    assert [getattr(each, "prompt", None) for each in asked] == ["another prompt", PROMPT]


async def test_closing_the_client_ends_whoever_waits_for_a_busy_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(busy(retry_ms=10_000))
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        async with rowcast.connect(fake.url, decode=False) as client:
            waiting = asyncio.create_task(client.pictures(PROMPT))
            await asyncio.sleep(0.2)
        with pytest.raises(ConnectionLost, match="closed"):
            await waiting


# A server that is about to close


def test_after_goaway_a_request_goes_to_the_next_connection(
    connect: Connect, tiny_server: RowcastServer, undisturbed: list[list[int]]
) -> None:
    starts: list[object] = []

    async def leaving(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(), encode(GoAway(300)))
        with pytest.raises(TimeoutError):
            starts.append(await asyncio.wait_for(peer.receive(), 0.3))
        link.target = tiny_server.ws_url
        await peer.connection.close(CloseCode.GOING_AWAY)

    with (
        fake_server(leaving) as fake,
        proxy(fake.url) as link,
        connect(link.url, decode=False) as client,
    ):
        time.sleep(0.1)  # until `goaway` is there
        (end,) = client.pictures(PROMPT, seed=5)
    assert starts == []
    assert ids(end) == undisturbed


def test_what_is_forming_goes_on_after_goaway(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0), encode(GoAway(5_000)), rows(1, 3), done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        events = client.generate(PROMPT)
        first_rows(events)
        *_, end = events
        assert isinstance(end, PictureDone)
        assert fake.connections == 1
