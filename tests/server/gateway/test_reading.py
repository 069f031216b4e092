"""Reading a little at a time: who sends much holds up nobody."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from rowcast.transport import READ_BYTES
from rowcast_server.session import ServerSession

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import PING, PONG, connected, masked, until

IGNORED = masked(b"\x91\x20")  # an optional message that nobody knows
FRAMES = 40_000


class Turns:
    """Counts the turns of the running loop."""

    def __init__(self) -> None:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._turn()

    def _turn(self) -> None:
        self.now += 1
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


async def test_a_write_of_many_frames_is_read_in_pieces_between_which_others_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    studio = Studio(loop=asyncio.get_running_loop())
    async with (
        open_gateway(studio, messages_per_minute=1_000_000) as (gateway, url),
        connected(url) as flood,
        connected(url) as other,
    ):
        mine = flood.connection.local_address[1]
        (connection,) = (
            each for each in gateway._websocket._connections if each.remote_address[1] == mine
        )
        turns, frames = Turns(), 0
        fed: Counter[int] = Counter()
        in_turn: Counter[int] = Counter()
        answered_after: list[int] = []
        receive, feed = ServerSession.receive, type(connection).feed

        def count(session: ServerSession, frame: bytes | str) -> None:
            nonlocal frames
            if frame == b"\x91\x20":
                frames += 1
                in_turn[turns.now] += 1
            elif frame == b"\x92\x09\x07":  # the other's ping
                answered_after.append(frames)
            receive(session, frame)

        def watch(self: object, data: bytes) -> None:
            if self is connection:
                fed[turns.now] += len(data)
            feed(self, data)  # type: ignore[arg-type]

        monkeypatch.setattr(ServerSession, "receive", count)
        monkeypatch.setattr(type(connection), "feed", watch)
        await other.send(PING, 7)
        connection.data_received(IGNORED * FRAMES)  # as the loop hands over one read
        assert await other.receive() == [PONG, 7]
        assert answered_after[0] < FRAMES / 4, "in the middle of it, not behind it"
        await until(lambda: frames == FRAMES)
        turns.stop()
        assert max(fed.values()) <= READ_BYTES
        assert max(in_turn.values()) <= 2, "a frame, then others"
        await flood.send(PING, 1)
        assert await flood.receive() == [PONG, 1], "and what came later is read, too"


async def test_what_was_in_pieces_is_whole_and_in_order() -> None:
    studio = Studio(loop=asyncio.get_running_loop())
    async with open_gateway(studio) as (gateway, url), connected(url) as client:
        (connection,) = gateway._websocket._connections
        pings = b"".join(masked(b"\x92\x09" + bytes([number])) for number in range(100)) * 9
        assert len(pings) > READ_BYTES
        connection.data_received(pings)
        for number in range(900):
            assert await client.receive() == [PONG, number % 100]


async def test_a_connection_that_is_lost_amid_a_write_leaves_nothing() -> None:
    studio = Studio(loop=asyncio.get_running_loop())
    async with open_gateway(studio) as (gateway, url), connected(url):
        (connection,) = gateway._websocket._connections
        connection.data_received(IGNORED * FRAMES)
        connection.transport.abort()
        await until(lambda: not gateway._websocket._sessions)
        assert connection._unread == b""
