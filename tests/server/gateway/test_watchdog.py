"""Viewers that read slowly are served, those that do not read are cut, and memory stays flat."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from rowcast.messages import Limits, Welcome, view_key
from rowcast_server.gateway.gateway import Gateway
from rowcast_server.gateway.unsent import unsent_bytes
from rowcast_server.gateway.watchdog import MAX_UNSENT_BYTES, WatchedConnection
from rowcast_server.gateway.websocket import CLOSE_SECONDS
from websockets.exceptions import ConnectionClosed

from tests.support.fakes import KEY, MODEL, Studio, open_gateway
from tests.support.raw_client import HELLO, PING, ROWS, WATCH, BareSocket, connected, masked, until

# 64x64 ids of 4 bytes: 16 KiB a picture, so that a few fill every buffer on the way.
LARGE = replace(MODEL, rows=64, cols=64, codebook_size=2**31 - 1, id_bytes=4)
PICTURES = 64
PICTURE_BYTES = 64 * 64 * 4
TIMEOUT = 0.4
# Of one viewer: asyncio's high-water mark, and the frame that went over it.
BUFFER_BYTES = 16_384 + 16_384


@pytest.fixture
async def studio() -> Studio:
    limits = Limits(16_384 + 4_096, 1_024, PICTURES, 256, 0, 0)
    welcome = Welcome(limits, [LARGE])
    return Studio(welcome=welcome, loop=asyncio.get_running_loop(), grace=30)


@pytest.fixture(autouse=True)
def without_the_kernels_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every platform has the option, and where there is one it would do the watchdog's work."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)


@asynccontextmanager
async def deaf(url: str) -> AsyncIterator[BareSocket]:
    """A client that has had its welcome and then reads only when told to; its buffers are small."""
    client = await asyncio.to_thread(lambda: BareSocket(url, receive_buffer=4_096))
    with client:
        client.send(HELLO, None, "deaf")
        await asyncio.to_thread(client.receive)
        yield client


def connection_of(gateway: Gateway) -> WatchedConnection:
    (connection,) = gateway._websocket._connections
    return connection


async def watch_all(studio: Studio, client: BareSocket) -> None:
    """PICTURES pictures on the client's streams 0, 1, …; they form as `draw` says."""
    for number in range(PICTURES):
        picture = studio.start(number.to_bytes(16))
        studio.drawer.place(picture.number)
        client.send(WATCH, number, view_key(number.to_bytes(16)), 0, 0, 0)
    await until(lambda: all(len(p.viewers) == 2 for p in studio.book._by_number.values()))


async def test_a_viewer_that_stops_reading_is_cut_in_time_and_holds_little(studio: Studio) -> None:
    """With its buffers full, a megabyte waits for it and a frame's worth is held."""
    async with open_gateway(studio, send_timeout=TIMEOUT) as (gateway, url), deaf(url) as client:
        transport = connection_of(gateway).transport
        descriptor = transport.get_extra_info("socket").fileno()
        await watch_all(studio, client)
        await asyncio.to_thread(lambda: [client.receive() for _ in range(PICTURES)])  # accepted
        for number in range(PICTURES):
            studio.drawer.draw(number, 64)
        began, most = time.monotonic(), 0
        while gateway._websocket._sessions:
            most = max(most, transport.get_write_buffer_size() + unsent_bytes(descriptor))
            assert time.monotonic() - began < TIMEOUT + 5
            await asyncio.sleep(0.005)
        assert time.monotonic() - began > 0.5 * TIMEOUT
        assert 0 < most <= BUFFER_BYTES
        await until(lambda: all(len(p.viewers) <= 1 for p in studio.book._by_name.values()))


async def test_a_viewer_that_does_not_read_delays_nobody(studio: Studio) -> None:
    async with (
        open_gateway(studio, send_timeout=60) as (gateway, url),
        deaf(url) as client,
        connected(url) as other,
    ):
        await watch_all(studio, client)
        for number in range(PICTURES):
            studio.drawer.draw(number, 64)
        await other.start(0, key=KEY)
        await until(lambda: studio.drawer.requests)
        studio.drawer.draw(PICTURES, 64)
        picture = await other.picture(0)
        assert len(picture.ids) == PICTURE_BYTES
        assert len(gateway._websocket._sessions) == 2, "the deaf one is there, its buffers full"


async def test_a_viewer_that_was_cut_can_watch_again(studio: Studio) -> None:
    async with open_gateway(studio, send_timeout=TIMEOUT) as (gateway, url):
        async with deaf(url) as client:
            await watch_all(studio, client)
            for number in range(PICTURES):
                studio.drawer.draw(number, 32)
            await until(lambda: not gateway._websocket._sessions)
        studio.drawer.draw(0, 32)
        async with connected(url) as again:
            await again.watch(0, view_key(bytes(16)))
            assert len((await again.picture(0)).ids) == PICTURE_BYTES


async def test_a_viewer_that_reads_slowly_gets_fewer_larger_frames_and_everything_in_order(
    studio: Studio,
) -> None:
    async with open_gateway(studio, send_timeout=TIMEOUT) as (_, url), deaf(url) as client:
        await watch_all(studio, client)
        first_rows = [0] * PICTURES
        frames = 0

        def read(until_rows: int) -> int:
            """Read until so many rows of every picture are there; the number of frames."""
            count = 0
            while min(first_rows) < until_rows:
                message = client.receive()
                if message[0] == ROWS:
                    _, stream, first, ids = message
                    assert first == first_rows[stream]
                    first_rows[stream] += len(ids) // 256
                    count += 1
                    if count % 20 == 0:
                        time.sleep(0.005)
            return count

        reading = asyncio.create_task(asyncio.to_thread(read, 64))
        for _ in range(64):
            for number in range(PICTURES):
                studio.drawer.draw(number)
            await asyncio.sleep(0)
        frames = await reading
        assert first_rows == [64] * PICTURES
        assert PICTURES <= frames < PICTURES * 64 / 2


async def test_a_viewer_whose_picture_vanishes_in_the_kernels_buffers_is_cut_by_keepalive(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small picture never fills a buffer: only the missing pong tells that nobody reads."""
    monkeypatch.setattr("rowcast_server.gateway.websocket.CLOSE_SECONDS", 0.1)
    async with open_gateway(studio, ping_interval=0.1) as (gateway, url), deaf(url) as client:
        await watch_all(studio, client)
        studio.drawer.draw(0, 1)
        await until(lambda: not gateway._websocket._sessions)


async def test_pings_that_are_answered_to_nobody_are_bounded(studio: Studio) -> None:
    """Messages of ours: their answers wait in the session, at most so many."""
    async with open_gateway(studio, send_timeout=TIMEOUT) as (gateway, url), deaf(url) as client:
        connection = connection_of(gateway)
        most = await flood(gateway, connection, client, masked(b"\x92\x09\x01") * 10_000)
        assert most <= BUFFER_BYTES
        await until(lambda: not gateway._websocket._sessions)


async def test_pings_of_the_websocket_that_are_answered_to_nobody_are_bounded(
    studio: Studio,
) -> None:
    """`websockets` answers them itself, without waiting for anybody to read."""
    async with open_gateway(studio, send_timeout=TIMEOUT) as (gateway, url), deaf(url) as client:
        connection = connection_of(gateway)
        most = await flood(gateway, connection, client, masked(bytes(125), opcode=9) * 1_000)
        assert most <= MAX_UNSENT_BYTES + 2 * 262_144  # what one read of asyncio may bring
        await until(lambda: not gateway._websocket._sessions)


async def test_a_close_that_cannot_be_sent_ends_in_time(studio: Studio) -> None:
    """Pongs fill the buffer to just below the bound; then the client breaks the protocol."""
    async with open_gateway(studio, send_timeout=TIMEOUT) as (gateway, url), deaf(url) as client:
        connection = connection_of(gateway)
        pings = masked(bytes(125), opcode=9) * 100
        while connection.transport.get_write_buffer_size() < 100_000:
            await asyncio.to_thread(client.socket.sendall, pings)
        client.socket.sendall(masked(b"text", opcode=1))
        await until(lambda: not gateway._websocket._sessions, TIMEOUT + 5)


async def flood(
    gateway: Gateway, connection: WatchedConnection, client: BareSocket, chunk: bytes
) -> int:
    """Send until the connection is cut; the most that was unsent on the way."""
    client.socket.setblocking(False)
    loop, most = asyncio.get_running_loop(), 0
    async with asyncio.timeout(20):
        with contextlib.suppress(OSError):
            while gateway._websocket._sessions:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await loop.sock_sendall(client.socket, chunk)
                most = max(most, connection.transport.get_write_buffer_size())
    return most


async def test_who_pings_and_reads_is_never_cut(studio: Studio) -> None:
    async with open_gateway(studio, send_timeout=TIMEOUT) as (_, url), connected(url) as client:
        for number in range(2_000):
            await client.send(PING, number)
            assert await client.receive() == [10, number]
        for _ in range(200):
            await (await client.connection.ping(bytes(125)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not tell")
async def test_rows_drawn_while_the_network_is_full_travel_together(studio: Studio) -> None:
    """R-46. Few bytes, which would all fit into the kernel's buffer, behind what waits there."""
    async with open_gateway(studio) as (_, url), deaf(url) as client:
        await watch_all(studio, client)
        studio.drawer.draw(0, 64)  # more than the client's buffer takes
        await asyncio.sleep(0.1)
        for _ in range(8):
            studio.drawer.draw(1, 1)
            await asyncio.sleep(0.01)

        def read() -> list[tuple[int, int]]:
            """The first row and the number of rows of each frame of stream 1, until it has 8."""
            frames: list[tuple[int, int]] = []
            while sum(count for _, count in frames) < 8:
                message = client.receive()
                if message[:2] == [ROWS, 1]:
                    frames.append((message[2], len(message[3]) // (64 * 4)))
            return frames

        assert await asyncio.to_thread(read) == [(0, 8)]


def test_nothing_is_unsent_on_a_closed_socket() -> None:
    closed = socket.socket()
    closed.close()
    assert unsent_bytes(closed.fileno()) == 0  # as of a viewer that left while a frame was sent


async def test_a_frame_for_a_lost_connection_waits_until_the_loop_says_so(studio: Studio) -> None:
    """Or frame after frame would be written to it, which asyncio warns of."""
    async with open_gateway(studio) as (gateway, url), deaf(url):
        connection = connection_of(gateway)
        connection.transport.abort()
        sending = connection.sending(b"rows")
        assert sending is not None
        await sending
        more = connection.sending(b"more rows")
        assert more is not None
        with pytest.raises(ConnectionClosed):
            await more


async def test_a_connection_keeps_nothing_of_its_request(studio: Studio) -> None:
    async with open_gateway(studio) as (gateway, url), deaf(url):
        connection = connection_of(gateway)
        assert connection.request is not None
        assert not connection.request.headers
        assert connection.response is None


async def test_a_close_that_is_hurried_waits_for_nobody(studio: Studio) -> None:
    """A viewer that does not read would answer no close for seconds."""
    async with open_gateway(studio) as (gateway, url), deaf(url):
        closing = asyncio.create_task(gateway.close(notice=30.0))
        await asyncio.sleep(0)
        gateway.hurry()
        async with asyncio.timeout(CLOSE_SECONDS - 0.5):
            await closing
