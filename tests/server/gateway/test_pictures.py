"""Pictures through a gateway: their bytes, lost links, the server's end."""

from __future__ import annotations

import asyncio
import zlib

import msgpack
import pytest
from rowcast.messages import view_key

from tests.support.fakes import KEY, WHOLE, Studio, ids_of, open_gateway, start_through
from tests.support.raw_client import (
    ACCEPTED,
    CANCEL,
    CANCELLED,
    COMPLETE,
    GOAWAY,
    HELLO,
    LEFT,
    PING,
    PONG,
    QUEUED,
    ROWS,
    BareSocket,
    connected,
    until,
)

STOPPING = "this server is about to stop; ask on another connection"


class TestPictures:
    async def test_from_accepted_to_done(self, place: tuple[Studio, str]) -> None:
        studio, url = place
        async with connected(url) as client:
            number = await start_through(studio, client)
            for rows in range(1, 5):
                studio.drawer.draw(number)
                assert (await client.rows(0, rows * 8)).ids == ids_of(0, 0, rows)
            picture = await client.picture(0)
        assert picture.frames == [[row, ids_of(0, row, row + 1)] for row in range(4)]
        assert picture.reason == COMPLETE
        assert picture.done is not None
        assert picture.done[:2] == [4, zlib.crc32(WHOLE)]

    async def test_hello_and_start_may_come_in_one_packet(self, place: tuple[Studio, str]) -> None:
        studio, url = place
        async with connected(url, greet=False) as client:
            await asyncio.gather(client.send(HELLO, None, "x"), client.start(0))
            studio.drawer.draw(await studio.drawer.arrivals.get(), 4)
            client.welcome = await client.receive()
            assert (await client.picture(0)).ids == WHOLE

    async def test_a_late_viewer_and_an_early_one_get_the_same(
        self, place: tuple[Studio, str]
    ) -> None:
        studio, url = place
        async with connected(url) as owner, connected(url) as viewer:
            number = await start_through(studio, owner)
            studio.drawer.draw(number, 2)
            await owner.rows(0, 16)
            await viewer.watch(9, view_key(KEY))
            await viewer.rows(9, 16)
            studio.drawer.draw(number, 2)
            early, late = await owner.picture(0), await viewer.picture(9)
        assert (early.ids, early.done) == (late.ids, late.done)
        assert late.frames[0] == [0, ids_of(0, 0, 2)]

    async def test_a_viewer_that_leaves_does_not_end_it(self, place: tuple[Studio, str]) -> None:
        studio, url = place
        async with connected(url) as owner, connected(url) as viewer:
            number = await start_through(studio, owner)
            await viewer.watch(9, view_key(KEY))
            await viewer.take()
            await viewer.send(CANCEL, 9)
            assert (await viewer.picture(9)).reason == LEFT
            studio.drawer.draw(number, 4)
            assert (await owner.picture(0)).reason == COMPLETE

    async def test_a_queue_position_that_is_held_back_is_told_by_itself(
        self, place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.session.QUEUED_INTERVAL_SECONDS", 0.2)
        studio, url = place
        async with connected(url) as client:
            await client.start(0, key=KEY)
            number = await studio.drawer.arrivals.get()
            studio.drawer.place(number, 3)
            assert (await client.take())[0] == ACCEPTED
            told_at = asyncio.get_running_loop().time()
            studio.drawer.place(number, 2)
            studio.drawer.place(number, 1)
            assert await client.take() == [QUEUED, 0, 1]
            assert asyncio.get_running_loop().time() - told_at > 0.15
            studio.drawer.draw(number)
            message = await client.take()
            assert message[0] == ROWS, "rows do not wait for the interval"


class TestLostLinks:
    async def test_a_dropped_link_is_cancelled_after_the_grace_time(
        self, place: tuple[Studio, str]
    ) -> None:
        studio, url = place
        async with connected(url) as client:
            number = await start_through(studio, client)
            client.connection.transport.abort()
        assert studio.drawer.cancelled == []
        await until(lambda: studio.drawer.cancelled)
        assert studio.drawer.cancelled == [number]
        assert len(studio.book) == 0

    async def test_a_link_taken_up_in_time_gets_the_rest(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop(), grace=30)
        async with open_gateway(studio) as (_, url):
            async with connected(url) as client:
                number = await start_through(studio, client)
                studio.drawer.draw(number, 2)
                held = (await client.rows(0, 16)).ids
                client.connection.transport.abort()
            studio.drawer.draw(number, 1)
            async with connected(url) as client:
                await client.watch(0, view_key(KEY), held=held, rows=2)
                await client.rows(0, 8)
                studio.drawer.draw(number, 1)
                rest = await client.picture(0)
        assert rest.first_row == 2
        assert held + rest.ids == WHOLE
        assert rest.reason == COMPLETE

    async def test_an_owner_that_comes_back_with_its_key_may_cancel(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop(), grace=30)
        async with open_gateway(studio) as (_, url):
            async with connected(url) as client:
                number = await start_through(studio, client)
                studio.drawer.draw(number, 2)
                held = (await client.rows(0, 16)).ids
            async with connected(url) as client:
                await client.start(0, key=KEY, prefix=held)
                await client.take()
                await client.send(CANCEL, 0)
                ended = await client.picture(0)
        assert (ended.first_row, ended.ids, ended.reason) == (2, b"", CANCELLED)
        assert ended.done is not None
        assert ended.done[:2] == [2, zlib.crc32(held)]
        assert studio.drawer.cancelled == [number]


class TestTheEnd:
    async def test_clients_are_told_and_then_closed_1001(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), connected(url) as client:
            await start_through(studio, client)
            assert (await client.take())[0] == ACCEPTED
            closing = asyncio.create_task(gateway.close(notice=0.1))
            assert await client.receive() == [GOAWAY, 100]
            await client.send(PING, 1)
            assert await client.receive() == [PONG, 1]
            assert await client.receive() == [GOAWAY, 0]
            assert await client.close_code() == 1001
            await closing

    async def test_whose_last_picture_ends_is_told_and_let_go_before_the_time(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), connected(url) as client:
            number = await start_through(studio, client)
            assert (await client.take())[0] == ACCEPTED
            async with asyncio.timeout(20), connected(url) as idle:
                closing = asyncio.create_task(gateway.close(notice=3600))
                assert await idle.receive() == [GOAWAY, 0]
                assert await idle.close_code() == 1001
                assert await client.receive() == [GOAWAY, 3_600_000]
                await client.start(1)
                assert (await client.picture(1)).error == ["busy", 3_600_000, STOPPING]
                studio.drawer.draw(number, 4)
                assert (await client.picture(0)).ids == WHOLE
                assert await client.receive() == [GOAWAY, 0]
                assert await client.close_code() == 1001
                await closing

    async def test_while_it_gives_notice_it_takes_no_connection_and_can_be_hurried(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), connected(url) as client:
            await start_through(studio, client)
            closing = asyncio.create_task(gateway.close(notice=3600))
            while (await client.take())[0] != GOAWAY:
                pass
            with pytest.raises(ConnectionRefusedError):
                async with connected(url):
                    pass
            gateway.hurry()
            assert await client.receive() == [GOAWAY, 0]
            assert await client.close_code() == 1001
            async with asyncio.timeout(20):
                await closing

    async def test_without_notice_they_are_told_all_the_same(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), connected(url) as client:
            closing = asyncio.create_task(gateway.close())
            assert await client.receive() == [GOAWAY, 0]
            assert await client.close_code() == 1001
            await closing

    async def test_pictures_that_end_in_the_notice_are_unaffected(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), connected(url) as client:
            number = await start_through(studio, client)
            closing = asyncio.create_task(gateway.close(notice=0.2))
            while (await client.take())[0] != GOAWAY:
                pass
            studio.drawer.draw(number, 4)
            assert (await client.picture(0)).ids == WHOLE
            await closing

    async def test_who_does_not_read_is_cut_after_a_short_wait(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.gateway.websocket.CLOSE_SECONDS", 0.2)
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url):
            deaf = await asyncio.to_thread(BareSocket, url)
            with deaf:
                deaf.send(HELLO, None, "deaf")
                await asyncio.to_thread(deaf.receive)
                (session,) = gateway._websocket._sessions
                for number in range(1_024):  # as many replies as may wait
                    session.receive(msgpack.packb([PING, number]))
                async with asyncio.timeout(5):
                    await gateway.close()

    async def test_who_has_sent_no_request_yet_does_not_hold_up_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.gateway.websocket.CLOSE_SECONDS", 0.2)
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url):
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                await gateway.close()
            writer.close()
            assert await reader.read() == b""
