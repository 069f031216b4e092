"""A whole server over real sockets, with a real engine: the pictures that it draws."""

from __future__ import annotations

import zlib
from contextlib import AsyncExitStack

import pytest
from rowcast_server.server import RowcastServer

from tests.support.drawn import ROW, assert_whole, draw
from tests.support.pace import Gate
from tests.support.raw_client import (
    STOP_ROW,
    Client,
    connected,
)


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
