"""One port for both protocols: how many may connect, for how long unread, and by which sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from rowcast_server.config import ServerConfig
from rowcast_server.gateway import listener, sockets
from rowcast_server.gateway.listener import descriptors_for
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import InvalidStatus

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import PING, PONG, Client, connected, until
from tests.support.web import (
    CLOSING,
    CONTENT,
    FILE,
    HOST,
    REQUEST,
    SHA256,
    bare,
    gate,
    nobody,
    raw,
    refusal_of,
    status_of,
)


class TestHalfOpen:
    @pytest.mark.parametrize(
        "data", [b"", b"G", CLOSING[:-1], b"\r", b"\n" * 99, b"\x16\x03\x01\x02\x00"]
    )
    async def test_who_sends_no_whole_request_is_let_go(self, data: bytes) -> None:
        async with gate(open_timeout=0.1) as (gateway, url), bare(url) as client:
            client.writer.write(data)
            await until(lambda: gateway._listener._arrivals)
            assert await client.is_closed()

    async def test_every_byte_does_not_begin_the_time_anew(self) -> None:
        async with gate(open_timeout=0.2) as (_, url), bare(url) as client:
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    while not client.reader.at_eof():
                        client.writer.write(b"x")
                        await client.writer.drain()
                        await asyncio.sleep(0.01)

    async def test_who_has_sent_one_has_time(self) -> None:
        async with (
            gate(open_timeout=0.1) as (_, url),
            connected(url) as client,
            bare(url) as http,
        ):
            assert status_of(await http.ask()) == 200
            await asyncio.sleep(0.3)
            assert status_of(await http.ask()) == 200
            await client.send(PING, 1)
            assert await client.receive() == [PONG, 1]

    async def test_of_too_many_the_oldest_goes_and_the_others_are_served(self) -> None:
        async with gate(handshakes=2, open_timeout=60) as (gateway, url), AsyncExitStack() as stack:
            clients = []
            arrivals = gateway._listener._arrivals
            for _ in range(4):
                before = list(arrivals)
                clients.append(await stack.enter_async_context(bare(url)))
                await until(lambda before=before: list(arrivals) != before)  # type: ignore[misc]
                assert len(arrivals) <= 2
            for gone in clients[:2]:
                assert await gone.is_closed()
            for there in clients[2:]:
                assert status_of(await there.ask(CLOSING)) == 200

    async def test_a_flood_of_them_does_not_keep_others_out(self) -> None:
        async with gate(handshakes=8, open_timeout=60) as (_, url), AsyncExitStack() as stack:
            for _ in range(100):
                await stack.enter_async_context(bare(url))
            async with connected(url) as client:
                assert client.welcome

    async def test_who_is_refused_and_does_not_go_is_cut(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listener, "CLOSE_SECONDS", 0.1)
        async with gate() as (gateway, url), bare(url) as client:
            assert status_of(await client.ask(b"nonsense\r\n\r\n")) == 400
            client.writer.write(b"more" * 1_000)
            assert gateway._listener._arrivals, "it is counted until it goes"
            await until(lambda: nobody(gateway))


class TestHowMany:
    async def test_of_one_address_so_many(self) -> None:
        async with gate(address_connections=3) as (_, url), connected(url), bare(url) as http:
            assert status_of(await http.ask()) == 200
            async with connected(url):
                assert await refusal_of(url) == (429, "5")
                answer = await raw(url, REQUEST)
                assert status_of(answer) == 429
                assert b"Retry-After: 5\r\n" in answer
                assert b"Access-Control-Allow-Origin: *\r\n" in answer
                assert b"there are 3 connections from your address" in answer

    async def test_who_leaves_makes_room(self) -> None:
        async with gate(address_connections=1) as (gateway, url):
            for _ in range(3):
                async with connected(url) as client:
                    assert client.welcome
                await until(lambda: nobody(gateway))

    async def test_a_proxy_does_not_count_as_its_clients(self) -> None:
        settings = {"address_connections": 1, "trusted_proxies": ("127.0.0.1",)}
        async with gate(**settings) as (_, url), AsyncExitStack() as stack:
            for number in range(3):
                headers = {"X-Forwarded-For": f"9.9.9.9, 198.51.100.{number}"}
                line = connected(url, additional_headers=headers)
                assert (await stack.enter_async_context(line)).welcome
            assert await refusal_of(url, additional_headers=headers) == (429, "5")

    async def test_in_all_so_many_and_a_quarter_of_them_http(self) -> None:
        async with gate(connections=8) as (gateway, url), AsyncExitStack() as stack:
            for _ in range(2):
                http = await stack.enter_async_context(bare(url))
                assert status_of(await http.ask()) == 200
            answer = await raw(url, REQUEST)
            assert status_of(answer) == 503
            assert b"Retry-After: 5\r\n" in answer
            for _ in range(6):
                line = await stack.enter_async_context(connected(url))
                assert line.welcome, "WebSockets have the rest"
            assert await refusal_of(url) == (503, "5")
            assert gateway._listener._connections == 8

    async def test_where_there_is_room_for_one_it_may_be_http(self) -> None:
        async with gate(connections=1) as (_, url):
            assert status_of(await raw(url, CLOSING)) == 200

    async def test_counts_are_as_before_after_every_kind_of_end(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(CONTENT * 200)
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio, {SHA256: path}) as (gateway, url):
            for end in ENDS:
                async with asyncio.timeout(20):
                    await end(url)
                    await until(lambda: nobody(gateway))
        assert nobody(gateway)

    async def test_counts_are_as_before_after_the_end_of_the_server(self) -> None:
        studio = Studio(loop=asyncio.get_running_loop())
        async with open_gateway(studio) as (gateway, url), bare(url) as http:
            assert status_of(await http.ask()) == 200
            async with bare(url), bare(url) as half, connected(url):
                half.writer.write(b"GET")
                await until(lambda: len(gateway._listener._arrivals) == 2)
                await gateway.close()
                await until(lambda: nobody(gateway))


async def _closes(url: str) -> None:
    async with connected(url):
        pass


async def _aborts(url: str) -> None:
    async with connected(url) as client:
        client.connection.transport.abort()


async def _speaks_text(url: str) -> None:
    async with connected(url) as client:
        await client.connection.send("text")
        assert await client.close_code() == 4400


async def _offers_nothing(url: str) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(url, proxy=None):
            pass


async def _comes_from_elsewhere(url: str) -> None:
    assert (await refusal_of(url, origin="https://evil.example"))[0] == 403


def _asks(request: bytes, status: int) -> Callable[[str], Any]:
    async def ask(url: str) -> None:
        assert status_of(await raw(url, request)) == status

    return ask


def _leaves(*requests: bytes, reads: bool = False) -> Callable[[str], Any]:
    async def leave(url: str) -> None:
        async with bare(url) as client:
            for request in requests:
                client.writer.write(request)
                await asyncio.sleep(0.01)
            if reads:
                await client.reader.read(100)

    return leave


async def _ends_its_side(url: str) -> None:
    await raw(url, b"GET / HT", end=True)
    await raw(url, REQUEST, end=True)


DOWNLOAD = f"GET {FILE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
UPGRADE = (
    f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
)
ENDS: Sequence[Callable[[str], Any]] = (
    _closes,
    _aborts,
    _speaks_text,
    _offers_nothing,
    _comes_from_elsewhere,
    _ends_its_side,
    _asks(CLOSING, 200),
    _asks(CLOSING.replace(b"livez", b"nothing"), 404),
    _asks(CLOSING.replace(b"127.0.0.1", b"evil.example"), 421),
    _asks(b"nonsense\r\n\r\n", 400),
    _asks(UPGRADE + b"\r\n", 400),
    _asks(UPGRADE + b"Sec-WebSocket-Version: 7\r\n\r\n", 400),
    _asks(b"x" * 70_000, 431),
    _leaves(),
    _leaves(b"GET"),
    _leaves(REQUEST),
    _leaves(REQUEST, b"GET /", reads=True),
    _leaves(DOWNLOAD),
    _leaves(DOWNLOAD, reads=True),
    _leaves(UPGRADE + b"\r\n"),
    _leaves(UPGRADE[:-2]),
)


def test_this_process_may_have_as_many_connections_as_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource")
    limits = [(1_024, 2_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert descriptors_for(ServerConfig(connections=500, handshakes=100)) == 500
    assert limits == [(1_024, 2_000)], "there were enough"
    assert descriptors_for(ServerConfig(connections=1_500, handshakes=100)) == 1_500
    assert limits[-1] == (1_664, 2_000)
    assert caplog.text == ""
    assert descriptors_for(ServerConfig(connections=4_096, handshakes=100)) == 2_000 - 164
    assert "--connections 4096: this process may open 2000 files" in caplog.text


class TestPlaces:
    async def test_on_two_ports_each_has_its_own(self) -> None:
        async with gate(http_port=0) as (gateway, url):
            bound = gateway._listener._servers[1].sockets[0].getsockname()
            other = f"ws://{HOST}:{bound[1]}"
            assert other != url
            assert status_of(await raw(other, CLOSING)) == 200
            answer = await raw(url, CLOSING)
            assert status_of(answer) == 426
            assert b"--http-port has the files" in answer
            assert (await refusal_of(other))[0] == 400
            async with connected(url) as client:
                assert client.welcome

    async def test_by_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "rowcast.sock"
        headers = {"X-Forwarded-For": "198.51.100.7"}
        async with gate(unix=path, address_connections=1) as (gateway, _):
            async with unix_connect(
                str(path),
                "ws://localhost/",
                subprotocols=["rowcast.v1"],
                additional_headers=headers,
                compression=None,
            ) as connection:
                client = Client(connection)
                await client.send(0, None, "unix")
                assert (await client.receive())[0] == 1
                assert list(gateway._listener._by_address) == ["198.51.100.7"]
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(CLOSING)
            assert status_of(await reader.read()) == 200
            writer.close()
        assert not path.exists()

    async def test_by_a_socket_of_systemd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server((HOST, 0)) as given:
            port = given.getsockname()[1]
            monkeypatch.setattr(sockets, "SYSTEMD_FIRST", given.detach())
            monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
            monkeypatch.setenv("LISTEN_FDS", "1")
            async with gate() as (_, url):
                assert url == f"ws://{HOST}:{port}"
                async with connected(url) as client:
                    assert client.welcome
                assert status_of(await raw(url, CLOSING)) == 200


async def test_who_comes_in_a_crowd_is_taken_a_few_at_a_time() -> None:
    """As many as wait at once would hold up everybody else for a second."""
    async with open_gateway(Studio()) as (gateway, url), AsyncExitStack() as stack:
        port = int(url.rpartition(":")[2])
        for _ in range(300):  # the kernel takes them all, while the loop is busy with this
            crowd = socket.create_connection(("127.0.0.1", port), timeout=5)
            stack.callback(crowd.close)
        while not (taken := gateway.load["handshakes"]):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop
        assert taken <= listener.AT_ONCE
        await until(lambda: gateway.load["handshakes"] == 300)
