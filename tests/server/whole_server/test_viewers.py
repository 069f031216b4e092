"""Viewers of a whole server's pictures: late, lost, leaving, coming back."""

from __future__ import annotations

import asyncio
import random
import zlib
from pathlib import Path

from rowcast.messages import view_key
from rowcast_server.server import RowcastServer

from tests.support.drawn import ROW, assert_nobody_is_left, assert_whole, draw
from tests.support.pace import Gate, paced_server
from tests.support.raw_client import (
    CANCEL,
    CANCELLED,
    COMPLETE,
    PING,
    PONG,
    connected,
    until,
)
from tests.support.servers import running_server


class TestViewers:
    async def test_a_late_viewer_sees_the_rows_so_far_and_then_each(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as owner, connected(tiny_server.ws_url) as late:
            key = await owner.start(0)
            gate.allow(2)
            await owner.rows(0, 2 * ROW)
            await late.watch(7, view_key(key))
            assert (await late.rows(7, 2 * ROW)).frames[0][0] == 0
            gate.allow(2)
            first, second = await owner.picture(0), await late.picture(7)
        assert_whole(first)
        assert (second.ids, second.done) == (first.ids, first.done)

    async def test_two_viewers_on_one_connection_and_its_loss_leave_nobody(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as client:
            key = await client.start(0)
            gate.allow(1)
            await client.rows(0, ROW)
            await client.watch(1, view_key(key))
            await client.rows(1, ROW)
        gate.allow(3)
        await assert_nobody_is_left(tiny_server)

    async def test_cancel_of_a_watched_picture_only_leaves(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as owner, connected(tiny_server.ws_url) as viewer:
            key = await owner.start(0)
            gate.allow(1)
            await owner.rows(0, ROW)
            await viewer.watch(0, view_key(key))
            await viewer.rows(0, ROW)
            await viewer.send(CANCEL, 0)
            left = await viewer.picture(0)
            gate.allow(3)
            assert_whole(await owner.picture(0))
        assert left.done is not None
        assert (left.done[0], left.reason) == (1, 4)

    async def test_the_owners_cancel_ends_it_for_all_and_frees_the_slot(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as owner, connected(tiny_server.ws_url) as viewer:
            key = await owner.start(0)
            gate.allow(1)
            await owner.rows(0, ROW)
            await viewer.watch(0, view_key(key))
            await viewer.rows(0, ROW)
            await owner.send(CANCEL, 0)
            ends = [await owner.picture(0), await viewer.picture(0)]
            for end in ends:
                assert end.reason == CANCELLED
                assert end.done is not None
                assert end.done[:2] == [1, zlib.crc32(end.ids)]
        gate.allow_steps(1)  # the step in hand
        await assert_nobody_is_left(tiny_server)

    async def test_a_cancelled_picture_is_drawn_on_under_a_new_key(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as client:
            await client.start(0)
            gate.allow(2)
            await client.rows(0, 2 * ROW)
            await client.send(CANCEL, 0)
            part = await client.picture(0)
            gate.open()
            await client.start(0, prefix=part.ids)
            rest = await client.picture(0)
        assert part.ids + rest.ids == (await draw(tiny_server)).ids

    async def test_cancels_that_race_with_the_end_end_each_stream_once(
        self, tiny_server: RowcastServer
    ) -> None:
        chance = random.Random(5)
        reasons = set()
        async with connected(tiny_server.ws_url) as client:
            for number in range(40):
                stream = number % 4
                await client.start(stream, seed=number)
                await asyncio.sleep(chance.random() * 0.02)
                await client.send(CANCEL, stream)
                picture = await client.picture(stream)
                assert picture.reason in (COMPLETE, CANCELLED)
                assert picture.done is not None
                assert picture.done[:2] == [len(picture.ids) // ROW, zlib.crc32(picture.ids)]
                reasons.add(picture.reason)
            await client.send(PING, 1)
            assert await client.receive() == [PONG, 1], "nothing came after an end"
        assert CANCELLED in reasons
        await assert_nobody_is_left(tiny_server)


class TestLinks:
    async def test_a_dropped_link_is_cancelled_after_the_grace_time_and_frees_its_slot(
        self, tiny_folder: Path
    ) -> None:
        with paced_server(tiny_folder, steps=0, grace=0.2, slots=1) as (server, gate):
            async with connected(server.ws_url) as client:
                key = await client.start(0)
                gate.allow(1)
                held = (await client.rows(0, ROW)).ids
                client.connection.transport.abort()
            await until(lambda: len(server._book) == 0)
            gate.open()
            async with connected(server.ws_url) as client:
                await client.watch(0, view_key(key), held=held, rows=1)
                assert (await client.picture(0)).code == "gone"
                await client.start(0, key=key, prefix=held)
                rest = await client.picture(0)
                await client.start(1)
                assert held + rest.ids == (await client.picture(1)).ids
            await assert_nobody_is_left(server)

    async def test_a_link_taken_up_gets_the_rest(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as client:
            key = await client.start(0)
            gate.allow(2)
            held = (await client.rows(0, 2 * ROW)).ids
            client.connection.transport.abort()
        gate.allow(1)
        async with connected(tiny_server.ws_url) as client:
            await client.watch(0, view_key(key), held=held, rows=2)
            await client.rows(0, ROW)
            gate.allow(1)
            rest = await client.picture(0)
        assert rest.first_row == 2
        assert rest.done is not None
        assert rest.done[:2] == [4, zlib.crc32(held + rest.ids)]

    async def test_rows_that_are_not_the_pictures_are_gone(
        self, tiny_server: RowcastServer
    ) -> None:
        async with connected(tiny_server.ws_url) as client:
            key = await client.start(0)
            ids = (await client.picture(0)).ids
            for held, rows in ((bytes(ROW), 1), (ids[:ROW], 2), (ids, 5), (b"", 1)):
                await client.watch(0, view_key(key), held=held, rows=rows)
                assert (await client.picture(0)).code == "gone"
            await client.watch(0, view_key(key), held=ids, rows=4)
            assert (await client.picture(0)).reason == COMPLETE

    async def test_a_kept_picture_is_gone_after_its_time(self, tiny_folder: Path) -> None:
        with running_server(tiny_folder, keep=0.3) as server:
            async with connected(server.ws_url) as client:
                key = await client.start(0)
                first = await client.picture(0)
                await client.watch(0, view_key(key))
                assert (await client.picture(0)).ids == first.ids
                await until(lambda: len(server._book) == 0)
                await client.watch(0, view_key(key))
                assert (await client.picture(0)).code == "gone"

    async def test_a_repeated_start_attaches_and_another_prompt_conflicts(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as one, connected(tiny_server.ws_url) as two:
            key = await one.start(0)
            gate.allow(1)
            await one.rows(0, ROW)
            await two.start(5, key=key)
            await two.start(6, prompt="a blue boat", key=key)
            assert (await two.picture(6)).code == "conflict"
            gate.allow(3)
            first, second = await one.picture(0), await two.picture(5)
        assert (first.ids, first.done) == (second.ids, second.done)
