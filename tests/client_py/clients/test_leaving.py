"""Both clients: whoever leaves cancels his pictures, and nobody else's."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import rowcast
from rowcast.errors import (
    ConnectionLost,
)
from rowcast.events import PictureDone, RowsArrived
from rowcast.messages import DoneReason, view_key
from rowcast.session import ClientSession
from rowcast_server.server import RowcastServer
from websockets.sync.client import ClientConnection

from tests.support.client.clients import (
    PROMPT,
    draws_another,
    first_rows,
    ids,
    reason_of_the_end,
)
from tests.support.client.shells import Connect
from tests.support.pace import paced_server
from tests.support.proxy import proxy

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


# Leaving


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


async def test_closing_the_client_ends_its_attempts_to_reconnect(tiny_folder: Path) -> None:
    """The link leads to who takes connections and never answers: each attempt lasts long."""
    with (
        paced_server(tiny_folder) as (server, _),
        proxy(server.ws_url) as link,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        async with rowcast.connect(link.url, decode=False, reconnect=30) as client:
            task = await begun(client)
            link.target = f"ws://127.0.0.1:{silent.getsockname()[1]}"
            link.cut()
            held, _ = await asyncio.to_thread(silent.accept)
            closing = time.monotonic()
        assert time.monotonic() - closing < 5  # not as long as an attempt
        held.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await task


async def test_closing_the_client_ends_whoever_still_waits(tiny_folder: Path) -> None:
    with paced_server(tiny_folder) as (server, _):
        async with rowcast.connect(server.ws_url, decode=False) as client:
            task = await begun(client)
        with pytest.raises(ConnectionLost, match="closed"):
            await task


@pytest.mark.parametrize("lost", ["as it came", "on its way out", "once taken"])
def test_an_interrupted_synchronous_client_goes_on_with_another_link(
    tiny_server: RowcastServer, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """As by Ctrl-C in a notebook: a frame may be lost, or half sent, or half taken."""
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        suspended = client.generate(PROMPT, seed=4)
        next(suspended)
        with monkeypatch.context() as patched:
            if lost == "once taken":
                take = ClientSession.receive

                def interrupted_after(session: ClientSession, frame: bytes) -> list[bytes]:
                    take(session, frame)
                    raise KeyboardInterrupt

                patched.setattr(ClientSession, "receive", interrupted_after)
            else:
                name = "recv" if lost == "as it came" else "send"
                whole = getattr(ClientConnection, name)

                def interrupted(*args: Any, **options: Any) -> None:
                    whole(*args, **options)
                    raise KeyboardInterrupt

                patched.setattr(ClientConnection, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.pictures(PROMPT, 3, seed=5)
        (end,) = client.pictures(PROMPT, seed=6)
        assert (end.seed, end.picture.complete) == (6, True)
        with pytest.raises(ConnectionLost, match="was interrupted"):
            list(suspended)
        assert client.session.active == ()
