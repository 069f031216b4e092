"""A whole server over real sockets, with a real engine: what it draws, for whom, what is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest
from rowcast.messages import view_key
from rowcast_server.server import RowcastServer
from websockets.exceptions import ConnectionClosed

from tests.support.pace import Gate, paced_server
from tests.support.raw_client import (
    ACCEPTED,
    CANCEL,
    CANCELLED,
    COMPLETE,
    ERROR,
    HELLO,
    PING,
    PONG,
    START,
    STOP_ROW,
    WATCH,
    BareSocket,
    Client,
    Received,
    connected,
    masked,
    until,
)
from tests.support.servers import running_server

ROW = 4 * 2  # bytes of a row of the tiny model
WHOLE = 4 * ROW


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


IPV6 = has_ipv6()


async def draw(server: RowcastServer, **options: Any) -> Received:
    async with connected(server.ws_url) as client:
        await client.start(0, **options)
        return await client.picture(0)


def assert_whole(picture: Received) -> None:
    assert picture.reason == COMPLETE, picture
    assert len(picture.ids) == WHOLE
    assert picture.done is not None
    assert picture.done[:2] == [4, zlib.crc32(picture.ids)]


async def assert_nobody_is_left(server: RowcastServer) -> None:
    """No session, no viewer, no picture still being drawn or counted as such."""
    await until(lambda: not server._gateway._sessions)
    book, (bridge,) = server._book, server._fleet.bridges
    for picture in list(book._by_number.values()):  # what was left alone would be drawn for nobody
        assert picture.viewers == set()
    await until(lambda: not book._by_number and not bridge._outstanding)
    assert all(picture.viewers == set() for picture in book._by_name.values())


class TestPictures:
    async def test_a_picture_is_whole_and_its_checksum_is_right(
        self, tiny_server: RowcastServer
    ) -> None:
        assert_whole(await draw(tiny_server))

    async def test_the_same_request_is_the_same_picture(self, tiny_server: RowcastServer) -> None:
        first, again = await draw(tiny_server), await draw(tiny_server)
        assert first.ids == again.ids
        assert (await draw(tiny_server, seed=8)).ids != first.ids
        assert (await draw(tiny_server, prompt="a blue boat")).ids != first.ids

    async def test_a_seed_that_the_server_chose_draws_the_picture_again(
        self, tiny_server: RowcastServer
    ) -> None:
        first = await draw(tiny_server, seed=None)
        assert (await draw(tiny_server, seed=first.seed)).ids == first.ids

    async def test_company_does_not_change_a_picture(self, tiny_server: RowcastServer) -> None:
        alone = await draw(tiny_server, first_image=2)
        async with connected(tiny_server.ws_url) as client:
            await client.start(0, images=5)
            pictures = [await client.picture(stream) for stream in range(5)]
        for picture in pictures:
            assert_whole(picture)
        assert len({picture.ids for picture in pictures}) == 5
        assert pictures[2].ids == alone.ids

    @pytest.mark.parametrize("rows", [1, 2, 3])
    async def test_a_picture_continued_is_the_undisturbed_one(
        self, tiny_server: RowcastServer, rows: int
    ) -> None:
        whole = (await draw(tiny_server)).ids
        part = await draw(tiny_server, stop_row=rows)
        assert (part.reason, part.ids) == (STOP_ROW, whole[: rows * ROW])
        rest = await draw(tiny_server, prefix=part.ids)
        assert rest.first_row == rows
        assert part.ids + rest.ids == whole
        assert rest.done is not None
        assert rest.done[:2] == [4, zlib.crc32(whole)]

    async def test_a_prefix_is_kept_to_the_bit_even_if_nobody_would_have_drawn_it(
        self, tiny_server: RowcastServer
    ) -> None:
        """A fork: other rows above, so other rows below."""
        prefix = bytes(ROW)
        fork = await draw(tiny_server, prefix=prefix)
        assert fork.done is not None
        assert fork.done[:2] == [4, zlib.crc32(prefix + fork.ids)]
        assert fork.ids != (await draw(tiny_server)).ids[ROW:]

    async def test_a_picture_that_formed_slowly_comes_row_by_row(
        self, tiny_server: RowcastServer, gate: Gate
    ) -> None:
        async with connected(tiny_server.ws_url) as client:
            await client.start(0)
            for row in range(4):
                gate.allow(1)
                await client.rows(0, (row + 1) * ROW)
            picture = await client.picture(0)
        assert_whole(picture)
        assert [first for first, _ in picture.frames] == [0, 1, 2, 3]


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


class TestQueue:
    async def test_a_client_that_floods_does_not_hold_up_another(self, tiny_folder: Path) -> None:
        """They take turns: after the picture in hand, one of the flood's may go first, no more."""
        with paced_server(tiny_folder, steps=0, slots=1) as (server, gate):
            async with connected(server.ws_url) as flood, connected(server.ws_url) as one:
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

    async def test_a_burst_fills_the_slots_and_the_queue_and_not_one_more(
        self, tiny_folder: Path
    ) -> None:
        with paced_server(tiny_folder, steps=0, slots=2, queue_limit=6) as (server, gate):
            async with connected(server.ws_url) as client:
                await client.start(0, images=12)
                refused = [await client.picture(stream) for stream in range(8, 12)]
                assert [received.code for received in refused] == ["busy"] * 4
                assert all(received.error and received.error[1] > 0 for received in refused)
                gate.open()
                for stream in range(8):
                    assert_whole(await client.picture(stream))
                await client.start(0, seed=8, images=8)  # there is room again
                for stream in range(8):
                    assert_whole(await client.picture(stream))
            await assert_nobody_is_left(server)

    async def test_a_queue_of_none_still_draws_as_many_as_there_are_slots(
        self, tiny_folder: Path
    ) -> None:
        with paced_server(tiny_folder, steps=0, slots=2, queue_limit=0) as (server, gate):
            async with connected(server.ws_url) as client:
                await client.start(0, images=3)
                assert (await client.picture(2)).code == "busy"
                gate.open()
                for stream in range(2):
                    assert_whole(await client.picture(stream))

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


KEY = bytes(range(16))
WRONG_STARTS: dict[str, tuple[list[Any], str]] = {
    "empty prompt": ([0, KEY, "", 1], "bad_prompt"),
    "white space": ([0, KEY, " \n", 1], "bad_prompt"),
    "3,000 characters": ([0, KEY, "x" * 3_000, 1], "bad_prompt"),
    "0 images": ([0, KEY, "a", 0], "bad_images"),
    "1,000 images": ([0, KEY, "a", 1_000], "bad_images"),
    "-1 images": ([0, KEY, "a", -1], "bad_images"),
    "2^63-1 images": ([0, KEY, "a", 2**63 - 1], "bad_images"),
    "beyond the last stream": ([65_535, KEY, "a", 2], "bad_images"),
    "temperature 0": ([0, KEY, "a", 1, [None, None, 0, 0]], "bad_sampling"),
    "temperature NaN": ([0, KEY, "a", 1, [None, None, 0, float("nan")]], "bad_sampling"),
    "temperature inf": ([0, KEY, "a", 1, [None, None, 0, float("inf")]], "bad_sampling"),
    "temperature 1e308": ([0, KEY, "a", 1, [None, None, 0, 1e308]], "bad_sampling"),
    "top_k -1": ([0, KEY, "a", 1, [None, None, 0, None, -1]], "bad_sampling"),
    "top_k beyond": ([0, KEY, "a", 1, [None, None, 0, None, 97]], "bad_sampling"),
    "top_p 2": ([0, KEY, "a", 1, [None, None, 0, None, None, 2.0]], "bad_sampling"),
    "guidance -1": ([0, KEY, "a", 1, [None, None, 0, None, None, None, -1.0]], "bad_sampling"),
    "unknown model": ([0, KEY, "a", 1, ["mega"]], "unknown_model"),
    "seed -1": ([0, KEY, "a", 1, [None, -1]], "bad_seed"),
    "seed 2^32": ([0, KEY, "a", 1, [None, 2**32]], "bad_seed"),
    "seed 2^63-1": ([0, KEY, "a", 1, [None, 2**63 - 1]], "bad_seed"),
    "stop_row 0": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 4 + [0]], "bad_stop_row"),
    "stop_row 17": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 4 + [17]], "bad_stop_row"),
    "half a row": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 5 + [bytes(4)]], "bad_prefix"),
    "id 96": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 5 + [b"\x60\0" * 4]], "bad_prefix"),
    "whole grid": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 5 + [bytes(32)]], "bad_prefix"),
    "too long": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 5 + [bytes(3_992)]], "bad_prefix"),
    "revision": ([0, KEY, "a", 1, [None] * 2 + [0] + [None] * 6 + [bytes(8)]], "wrong_revision"),
}
CLOSING: dict[str, tuple[list[bytes | str], int]] = {
    "10,000 characters": ([msgpack.packb([START, 0, KEY, "x" * 10_000, 1])], 4413),
    "a megabyte": ([bytes(2**20)], 4413),
    "more than a megabyte": ([bytes(2**21)], 1009),
    "a second hello": ([msgpack.packb([HELLO, None, ""])], 4400),
    "text": (["hello"], 4400),
    "nothing": ([b""], 4400),
    "random": ([b"\x97" + random.Random(1).randbytes(200)], 4400),
    "a huge array": ([b"\xdd\xff\xff\xff\xff\x02"], 4400),
    "a huge key": ([b"\x95\x02\x00\xc6\xff\xff\xff\xff"], 4400),
    "deep nesting": ([b"\x93\x09\x01" + b"\x91" * 4_000], 4400),
    "an unknown tag": ([msgpack.packb([31])], 4400),
    "a server's tag": ([msgpack.packb([ACCEPTED, 0])], 4400),
    "seed 2^63": ([msgpack.packb([START, 0, KEY, "a", 1, [None, 2**63]])], 4400),
    "stream 65,536": ([msgpack.packb([WATCH, 65_536, KEY, 0, 0, 0])], 4400),
    "a stream twice": ([msgpack.packb([START, 0, KEY, "a", 1])] * 2, 4409),
}


class TestBadInput:
    """After each, and after all of them, the same process draws as if nothing had been."""

    async def test_everything_wrong_has_its_own_answer_and_leaves_no_trace(
        self, tiny_folder: Path
    ) -> None:
        settings = {"keep": 0, "grace": 0.1, "queue_limit": 8}
        with paced_server(tiny_folder, **settings) as (server, gate):
            gate.open()
            before = await draw(server)
            await self.wrong_starts(server)
            await self.closes(server)
            await self.before_hello(server)
            await self.floods(server, gate)
            await assert_nobody_is_left(server)
            await until(lambda: len(server._book) == 0)
            after = await draw(server)
            assert_whole(after)
            assert after.ids == before.ids

    async def wrong_starts(self, server: RowcastServer) -> None:
        async with connected(server.ws_url) as client:
            for name, (fields, code) in WRONG_STARTS.items():
                await client.send(START, *fields)
                told = await client.receive()
                assert told[:4] == [ERROR, fields[0], code, 0], name
                assert told[4], name
            await client.start(0)
            assert_whole(await client.picture(0))

    async def closes(self, server: RowcastServer) -> None:
        for name, (frames, code) in CLOSING.items():
            async with connected(server.ws_url) as client:
                with contextlib.suppress(ConnectionClosed):
                    for frame in frames:
                        await client.connection.send(frame)
                assert await client.close_code() == code, name

    async def before_hello(self, server: RowcastServer) -> None:
        for frame, code in (
            (msgpack.packb([START, 0, KEY, "a", 1]), 4401),
            (msgpack.packb([HELLO, None, "", bytes(2_048)]), 4413),
            (b"\xff" * 100, 4400),
        ):
            async with connected(server.ws_url, greet=False) as client:
                await client.connection.send(frame)
                assert await client.close_code() == code

    async def floods(self, server: RowcastServer, gate: Gate) -> None:
        def pings_without_reading() -> None:
            with BareSocket(server.ws_url, receive_buffer=4_096) as client:
                client.send(HELLO, None, "flood")
                client.receive()
                client.socket.settimeout(0.5)
                try:
                    for _ in range(50):
                        client.socket.sendall(masked(msgpack.packb([PING, 1])) * 1_000)
                except OSError:
                    pass  # cut, or no longer read from

        await asyncio.to_thread(pings_without_reading)
        async with connected(server.ws_url) as client:
            gate.shut()
            for stream in range(40):
                await client.start(stream)
            busy = [await client.picture(stream) for stream in range(12, 40)]
            gate.open()
            assert {received.code for received in busy} == {"busy"}
            assert all(received.error and received.error[1] > 0 for received in busy)
            for stream in range(12):
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
            assert all(bridge._engine.idle for bridge in server._fleet.bridges)


class TestAddresses:
    """The URLs of `welcome` (R-52)."""

    @staticmethod
    def url(server: RowcastServer, host: str | None = None) -> str:
        with BareSocket(server.ws_url, host=host) as client:
            assert " 101 " in client.status
            client.send(HELLO, None, "url")
            ((*_, files),) = client.receive()[2]
            return str(files[0][4])

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            (None, "http://127.0.0.1:{port}/"),
            ("pictures.example.org", "http://pictures.example.org:{port}/"),
            ("pictures.example.org:8765", "http://pictures.example.org:{port}/"),
            ("LocalHost:1", "http://localhost:{port}/"),
            ("[::1]:8765", "http://[::1]:{port}/"),
            ("[2001:db8::7]", "http://[2001:db8::7]:{port}/"),
            ("[::1", "http://127.0.0.1:{port}/"),
            ("x:y:z", "http://x:{port}/"),
            ("@", "http://127.0.0.1:{port}/"),
            ("a/b?c#d", "http://a:{port}/"),
        ],
    )
    def test_they_are_at_the_host_by_which_the_client_came(
        self, tiny_server: RowcastServer, host: str | None, expected: str
    ) -> None:
        port = tiny_server.http_url.rpartition(":")[2]
        assert self.url(tiny_server, host).startswith(expected.format(port=port) + "detokenizer/")

    async def test_they_can_be_fetched(self, tiny_server: RowcastServer) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(await asyncio.to_thread(self.url, tiny_server))
        assert response.status_code == 200

    @pytest.mark.parametrize("public", ["https://pictures.example.org/x", "https://cdn.example/"])
    def test_a_public_url_replaces_it(self, tiny_folder: Path, public: str) -> None:
        with running_server(tiny_folder, public_url=public) as server:
            url = self.url(server, "127.0.0.1:1")
            assert url.startswith(public.rstrip("/") + "/detokenizer/")
            assert server.http_url == public.rstrip("/")

    @pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
    async def test_an_ipv6_address_is_in_brackets_and_works(self, tiny_folder: Path) -> None:
        with running_server(tiny_folder, host="::1") as server:
            assert server.ws_url.startswith("ws://[::1]:")
            assert server.http_url.startswith("http://[::1]:")
            assert_whole(await draw(server))
            async with httpx.AsyncClient(trust_env=False) as http:
                url = await asyncio.to_thread(self.url, server)
                assert (await http.get(url)).status_code == 200


async def test_many_clients_at_once_each_get_their_own(tiny_server: RowcastServer) -> None:
    alone = [await draw(tiny_server, seed=seed) for seed in range(3)]
    async with AsyncExitStack() as stack:
        clients: list[Client] = [
            await stack.enter_async_context(connected(tiny_server.ws_url)) for _ in range(30)
        ]
        for number, client in enumerate(clients):
            await client.start(number, seed=number % 3)
        for number, client in enumerate(clients):
            assert (await client.picture(number)).ids == alone[number % 3].ids
