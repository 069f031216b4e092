"""Pictures drawn by a real server, and that it has forgotten them."""

from __future__ import annotations

import zlib
from typing import Any

from rowcast_server.bridge import Fleet
from rowcast_server.server import RowcastServer

from tests.support.raw_client import (
    COMPLETE,
    Received,
    connected,
    until,
)

ROW = 4 * 2  # bytes of a row of the tiny model
WHOLE = 4 * ROW


def fleet_of(server: RowcastServer) -> Fleet:
    """The engines of a server that draws itself."""
    assert isinstance(server._engines, Fleet)
    return server._engines


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
    await until(lambda: not server._gateway._websocket._sessions)
    book, (bridge,) = server._book, fleet_of(server).bridges
    for picture in list(book._by_number.values()):  # what was left alone would be drawn for nobody
        assert picture.viewers == set()
    await until(lambda: not book._by_number and not bridge.pictures)
    assert all(picture.viewers == set() for picture in book._by_name.values())
