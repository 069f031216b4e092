"""A gateway's handshake, and the codes with which it closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
from rowcast.messages import CloseCode, view_key
from rowcast_server.access import Access, sign_token
from rowcast_server.errors import CloseConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.fakes import KEY, WHOLE, Studio, open_gateway, start_through
from tests.support.raw_client import (
    HELLO,
    PING,
    PONG,
    START,
    connected,
    until,
)


class TestHandshake:
    async def test_the_subprotocol_is_chosen_and_nothing_is_compressed(
        self, place: tuple[Studio, str]
    ) -> None:
        async with connected(place[1], compression="deflate") as client:
            response = client.connection.response
            assert response is not None
            assert client.connection.subprotocol == "rowcast.v1"
            assert "Sec-WebSocket-Extensions" not in response.headers
            assert "Server" not in response.headers

    @pytest.mark.parametrize("offered", [None, ["rowcast.v2"], ["graphql-ws", "mqtt"]])
    async def test_who_does_not_offer_the_subprotocol_gets_400(
        self, place: tuple[Studio, str], offered: Any
    ) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(place[1], subprotocols=offered, proxy=None):
                pass
        assert refused.value.response.status_code == 400

    async def test_a_later_version_may_be_offered_beside_ours(
        self, place: tuple[Studio, str]
    ) -> None:
        async with connected(place[1], subprotocols=["rowcast.v2", "rowcast.v1"]) as client:
            assert client.connection.subprotocol == "rowcast.v1"

    async def test_no_log_shows_the_token(
        self, place: tuple[Studio, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with connected(place[1], "s3cret") as client:
            assert client.welcome
        ours = [each for each in caplog.records if each.name != "websockets.client"]
        told = "\n".join(each.getMessage() for each in ours)
        assert "hello from 'raw'" in told
        assert "s3cret" not in told

    async def test_any_path_leads_to_the_same_gateway(self, place: tuple[Studio, str]) -> None:
        async with connected(f"{place[1]}/pictures?x=1") as client:
            assert client.welcome

    async def test_plain_http_and_garbage_are_turned_away(self, place: tuple[Studio, str]) -> None:
        port = int(place[1].rpartition(":")[2])
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\xff", b"\r\n" * 9):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            writer.write_eof()
            async with asyncio.timeout(5):
                answer = await reader.read()
            assert b" 101 " not in answer
            writer.close()
            await writer.wait_closed()
        async with connected(place[1]) as client:
            assert client.welcome


class TestCloses:
    async def test_no_hello_in_time_is_4408(
        self, place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.gateway.websocket.HELLO_TIMEOUT_SECONDS", 0.05)
        async with connected(place[1], greet=False) as client:
            assert await client.close_code() == 4408

    async def test_a_hello_in_time_lets_a_client_be_silent_for_ever(
        self, place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rowcast_server.gateway.websocket.HELLO_TIMEOUT_SECONDS", 0.1)
        async with connected(place[1]) as client:
            await asyncio.sleep(0.3)
            await client.send(PING, 1)
            assert await client.receive() == [PONG, 1]

    async def test_a_message_before_hello_is_4401(self, place: tuple[Studio, str]) -> None:
        async with connected(place[1], greet=False) as client:
            await client.send(START, 0, KEY, "a red house", 1)
            assert await client.close_code() == 4401

    async def test_a_second_hello_is_4400(self, place: tuple[Studio, str]) -> None:
        async with connected(place[1]) as client:
            await client.send(HELLO, None, "again")
            assert await client.close_code() == 4400

    async def test_text_is_4400_first_and_later(self, place: tuple[Studio, str]) -> None:
        for greet in (True, False):
            async with connected(place[1], greet=greet) as client:
                await client.connection.send("text")
                assert await client.close_code() == 4400

    async def test_an_open_stream_is_4409(self, place: tuple[Studio, str]) -> None:
        async with connected(place[1]) as client:
            await client.start(3)
            await client.start(3)
            assert await client.close_code() == 4409

    @pytest.mark.parametrize(
        ("size", "code"),
        [(4_097, 4413), (10_000, 4413), (2**20, 4413), (2**20 + 2**16, 4413), (2**21, 1009)],
    )
    async def test_a_frame_too_long_is_4413_and_one_beyond_reason_1009(
        self, place: tuple[Studio, str], size: int, code: int
    ) -> None:
        async with connected(place[1]) as client:
            with contextlib.suppress(ConnectionClosed):
                await client.connection.send(bytes(size))
            assert await client.close_code() == code

    async def test_a_long_hello_is_4413(self, place: tuple[Studio, str]) -> None:
        async with connected(place[1], greet=False) as client:
            await client.send(HELLO, "t" * 2_048, "")
            assert await client.close_code() == 4413

    async def test_the_reason_of_a_close_is_text_of_at_most_123_bytes(
        self, place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:  # RFC 6455 section 5.5
        def refuse(*_: object) -> None:
            raise CloseConnection(CloseCode.MALFORMED, "x" + "ü" * 200)

        monkeypatch.setattr("rowcast_server.session.ServerSession.receive", refuse)
        async with connected(place[1], greet=False) as client:
            await client.send(PING, 1)
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400
        assert closed.value.rcvd.reason == "x" + "ü" * 59

    async def test_a_bad_token_is_4403_and_nothing_is_sent(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio, tokens=frozenset({"secret"})) as (_, url):
            for token in (None, "", "Secret", "secret\x00"):
                async with connected(url, greet=False) as client:
                    await client.send(HELLO, token, "x")
                    with pytest.raises(ConnectionClosed) as closed:
                        await client.receive()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 4403
            async with connected(url, "secret") as client:
                assert client.welcome

    async def test_a_token_that_ends_on_the_way_is_4501_and_the_picture_goes_on(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("s" * 32)
        access = Access((), tmp_path / "secret")
        studio = Studio(loop=asyncio.get_running_loop(), access=access)
        async with open_gateway(studio) as (gateway, url):
            ends = math.ceil(time.time() + 0.5)
            token = sign_token(b"s" * 32, "alice", ends)
            async with connected(url, token) as client:
                number = await start_through(studio, client)
                studio.drawer.draw(number, 1)
                await client.rows(0, 8)
                assert await client.close_code() == 4501
                assert time.time() >= ends
            assert studio.drawer.cancelled == []
            async with connected(url, token, greet=False) as client:
                await client.send(HELLO, token, "late")
                assert await client.close_code() == 4501
            token = sign_token(b"s" * 32, "alice", time.time() + 60)
            async with connected(url, token) as client:
                await client.start(0, key=KEY)
                studio.drawer.draw(number, 3)
                assert (await client.picture(0)).ids == WHOLE
            await until(lambda: not gateway._websocket._sessions)

    async def test_who_guesses_is_4529_and_others_are_admitted(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        settings: dict[str, Any] = {"tokens": frozenset({"secret"}), "failures_per_minute": 1}
        async with open_gateway(studio, trusted_proxies=("127.0.0.1",), **settings) as (_, url):
            codes = []
            for token in ("a", "b", "c", "d", "e", "secret"):
                async with connected(url, greet=False) as client:
                    await client.send(HELLO, token, "x")
                    codes.append(await client.close_code())
            assert codes == [4403] * 4 + [CloseCode.RATE_LIMITED] * 2
            elsewhere = {"X-Forwarded-For": "198.51.100.7"}
            async with connected(url, "secret", additional_headers=elsewhere) as client:
                assert client.welcome

    async def test_a_token_of_the_request_admits_where_hello_has_none(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio, tokens=frozenset({"secret"})) as (_, url):
            headers = {"Authorization": "Bearer secret"}
            async with connected(url, additional_headers=headers) as client:
                assert client.welcome
            with pytest.raises(InvalidStatus) as refused:
                async with connected(url, additional_headers={"Authorization": "Bearer x"}):
                    pass
            assert refused.value.response.status_code == 401

    async def test_a_fault_of_ours_is_1011_and_the_others_go_on(
        self, place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio, url = place
        async with connected(url) as healthy, connected(url) as hurt:
            await start_through(studio, healthy)
            monkeypatch.setattr(studio.book, "find", lambda *_: 1 / 0)
            await hurt.watch(0, view_key(KEY))
            assert await hurt.close_code() == 1011
            studio.drawer.draw(0, 4)
            assert (await healthy.picture(0)).ids == WHOLE


async def test_a_fault_in_sending_closes_the_connection_instead_of_leaving_it_silent(
    place: tuple[Studio, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, url = place
    async with connected(url) as client:
        number = await start_through(studio, client)
        await client.take()
        monkeypatch.setattr("rowcast_server.session.ids_checksum", lambda _: 1 / 0)
        studio.drawer.draw(number, 4)
        assert await client.close_code() == 1011
    assert studio.drawer.cancelled == []


async def test_hostile_frames_each_close_their_own_connection_and_nothing_else(
    place: tuple[Studio, str],
) -> None:
    """R-11, R-12: random bytes, false lengths, deep nesting; the server goes on drawing."""
    studio, url = place
    chance = random.Random(11)
    hostile = [
        *(b"\x9a" + chance.randbytes(chance.randrange(1, 200)) for _ in range(20)),
        b"\xdd\xff\xff\xff\xff",
        b"\x96\x02\x00\xc6\xff\xff\xff\xff",
        b"\x91" * 4_000,
        b"\x93\x09\x01" + b"\x91" * 4_000,
        msgpack.packb([31]),
        b"",
    ]
    async with connected(url) as bystander:
        await start_through(studio, bystander)
        for frame in hostile:
            async with connected(url) as client:
                await client.connection.send(frame)
                assert await client.close_code() == 4400, frame
        studio.drawer.draw(0, 4)
        picture = await bystander.picture(0)
    assert picture.ids == WHOLE
    assert len(studio.book) == 1
