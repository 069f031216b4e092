"""Bad input to a whole server, which then draws as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import msgpack
from rowcast_server.server import RowcastServer
from websockets.exceptions import ConnectionClosed

from tests.support.drawn import assert_nobody_is_left, assert_whole, draw
from tests.support.pace import Gate, paced_server
from tests.support.raw_client import (
    ACCEPTED,
    ERROR,
    HELLO,
    PING,
    START,
    WATCH,
    BareSocket,
    connected,
    masked,
    until,
)

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
        settings: dict[str, Any] = {"keep": 0, "grace": 0.1, "queue_limit": 8}
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
        await assert_nobody_is_left(
            server
        )  # or a picture of before holds one of the nine places of this client
        async with connected(server.ws_url) as client:
            gate.shut()
            for stream in range(40):
                await client.start(stream)
            busy = [await client.picture(stream) for stream in range(9, 40)]
            gate.open()
            assert {received.code for received in busy} == {"busy"}
            assert all(received.error and received.error[1] > 0 for received in busy)
            for stream in range(9):
                assert_whole(await client.picture(stream))
