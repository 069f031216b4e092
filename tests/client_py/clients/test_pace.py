"""Both clients, slow and fast: nothing stale, nothing that waits for ever; one interface."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from typing import Any

import pytest
import rowcast
from rowcast.events import PictureDone, RowsArrived
from rowcast.messages import Ping, encode
from rowcast_server.server import RowcastServer
from websockets.exceptions import ConnectionClosed

from tests.support.client.clients import PROMPT, first_rows, ids
from tests.support.client.shells import Connect
from tests.support.fake_server import (
    Peer,
    accepted,
    done,
    fake_server,
    rows,
)

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


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


# One interface


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    return [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(function).parameters.values()
    ]


def test_both_clients_have_the_same_signatures() -> None:
    assert parameters(rowcast.AsyncClient) == parameters(rowcast.connect_sync)

    def members(kind: type) -> dict[str, Any]:
        return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}

    ours, theirs = members(rowcast.SyncClient), members(rowcast.AsyncClient)
    assert ours.keys() == theirs.keys()
    for name, member in ours.items():
        if callable(member):
            assert parameters(member) == parameters(theirs[name]), name
        else:
            assert type(member) is type(theirs[name])
