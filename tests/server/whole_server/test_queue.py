"""A whole server's queue, and its memory after a thousand pictures."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.drawn import assert_nobody_is_left, assert_whole, fleet_of
from tests.support.pace import paced_server
from tests.support.raw_client import (
    CANCEL,
    CANCELLED,
    connected,
    until,
)
from tests.support.servers import running_server

BOTH = frozenset({"a", "b"})  # tokens, each of one client


class TestQueue:
    async def test_a_client_that_floods_does_not_hold_up_another(self, tiny_folder: Path) -> None:
        """They take turns: after the picture in hand, one of the flood's may go first, no more."""
        with paced_server(tiny_folder, steps=0, slots=1, tokens=BOTH) as (server, gate):
            async with connected(server.ws_url, "a") as flood, connected(server.ws_url, "b") as one:
                await flood.start(0, images=20)
                gate.allow_steps(2)  # the first step may come before all are there
                for _ in range(20):
                    await flood.take()
                await one.start(0)
                placed = asyncio.create_task(one.take())
                while not placed.done():  # it is placed between two steps
                    gate.allow_steps(1)
                    await asyncio.sleep(0.01)
                gate.allow_steps(3 * 16)
                picture = await one.picture(0)
                assert_whole(picture)
                assert picture.positions[0] <= 2
                gate.open()
                for stream in range(20):
                    assert_whole(await flood.picture(stream))

    async def test_positions_are_told_truly_on_change_and_not_too_often(
        self, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.session.QUEUED_INTERVAL_SECONDS", 0.1)
        with paced_server(tiny_folder, steps=0, slots=1) as (server, gate):
            async with connected(server.ws_url) as client:
                await client.start(0, images=4)
                gate.allow_steps(2)  # the first step may come before all are there
                for _ in range(4):
                    await client.take()
                assert [client.streams[stream].positions for stream in range(4)] == [
                    [0],
                    [1],
                    [2],
                    [3],
                ]
                told = time.monotonic()
                gate.allow_steps(16)  # the first ends, the second begins
                assert_whole(await client.picture(0))
                while client.streams[3].positions != [3, 2]:
                    await client.take()
                assert time.monotonic() - told > 0.05
                gate.open()
                rest = [await client.picture(stream) for stream in (1, 2, 3)]
        for received in rest:
            assert received.positions == sorted(received.positions, reverse=True)

    async def test_a_burst_fills_the_slots_and_its_share_of_the_queue_and_not_one_more(
        self, tiny_folder: Path
    ) -> None:
        with paced_server(tiny_folder, steps=0, slots=2, queue_limit=6, tokens=BOTH) as (
            server,
            gate,
        ):
            url = server.ws_url
            async with connected(url, "a") as client, connected(url, "b") as other:
                await client.start(0, images=8)
                refused = [await client.picture(stream) for stream in (6, 7)]
                await other.start(0, images=3)
                refused.append(await other.picture(2))
                for received in refused:
                    assert received.code == "busy"
                    assert received.error is not None
                    assert received.error[1] > 0
                gate.open()
                for stream in range(6):
                    assert_whole(await client.picture(stream))
                for stream in range(2):
                    assert_whole(await other.picture(stream))
                await client.start(0, seed=8, images=6)  # there is room again
                for stream in range(6):
                    assert_whole(await client.picture(stream))
            await assert_nobody_is_left(server)

    async def test_a_queue_of_none_still_draws_as_many_as_there_are_slots(
        self, tiny_folder: Path
    ) -> None:
        with paced_server(tiny_folder, steps=0, slots=2, queue_limit=0) as (server, gate):
            async with connected(server.ws_url) as client:
                await client.start(0, images=2)
                await client.start(2, seed=9)
                assert (await client.picture(2)).code == "busy"
                gate.open()
                for stream in range(2):
                    assert_whole(await client.picture(stream))

    async def test_more_than_can_ever_be_taken_at_once_is_refused_for_good(
        self, tiny_folder: Path
    ) -> None:
        """Trying again later would never help."""
        with running_server(tiny_folder, slots=1, queue_limit=0) as server:
            async with connected(server.ws_url) as client:
                assert client.welcome[1][2] == 1  # limits.images
                await client.start(0, images=4)
                code, retry_ms, text = (await client.picture(0)).error or []
                assert (code, retry_ms) == ("bad_images", 0)
                assert text == "images must be 1 to 1, not 4: this server takes no more at once"
                await client.start(0)
                assert_whole(await client.picture(0))

    async def test_a_cancelled_picture_leaves_the_queue(self, tiny_folder: Path) -> None:
        with paced_server(tiny_folder, steps=0, slots=1, queue_limit=1) as (server, gate):
            async with connected(server.ws_url) as client:
                await client.start(0, images=2)
                gate.allow_steps(2)
                await client.take()
                await client.take()
                await client.send(CANCEL, 1)
                assert (await client.picture(1)).reason == CANCELLED
                gate.open()
                assert_whole(await client.picture(0))
                await client.start(0, seed=8, images=2)
                for stream in range(2):
                    assert_whole(await client.picture(stream))


class TestMemory:
    async def test_a_thousand_pictures_leave_an_empty_book(self, tiny_folder: Path) -> None:
        """Half of them drawn, half cancelled, none kept; ten clients, some lost on the way."""
        with running_server(tiny_folder, keep=0, grace=0.05, slots=16, queue_limit=400) as server:

            async def client_of(number: int) -> None:
                for part in range(5):
                    async with connected(server.ws_url) as client:
                        await client.start(0, images=10, seed=number, stop_row=1)
                        await client.start(10, images=10, seed=part)
                        for stream in range(10, 20):
                            await client.send(CANCEL, stream)
                        if number == part:
                            client.connection.transport.abort()
                            continue
                        for stream in range(20):
                            assert (await client.picture(stream)).done is not None

            await asyncio.gather(*map(client_of, range(10)))
            await assert_nobody_is_left(server)
            await until(lambda: len(server._book) == 0)
            assert all(bridge._engine.idle for bridge in fleet_of(server).bridges)
