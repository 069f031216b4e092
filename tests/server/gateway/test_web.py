"""The HTTP side over real HTTP: other origins, later requests, health, its log."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from rowcast_server.gateway.gateway import Gateway
from rowcast_server.gateway.picture_states import PictureStates

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import until
from tests.support.web import CONTENT, FILE, HOST, assert_shared, nobody, raw, status_of


@pytest.mark.parametrize("path", [FILE, "/livez", "/readyz"])
async def test_a_page_may_ask_first_whether_it_may_ask(http: httpx.AsyncClient, path: str) -> None:
    """A preflight of the Fetch standard, as browsers send for any header that is not plain."""
    asked = {
        "Origin": "https://pictures.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-range,range,x-of-its-own",
    }
    response = await http.options(path, headers=asked)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"if-range", "range", "if-none-match", "*"} <= set(allowed)
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert_shared(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, FILE)
    assert response.status_code == 405
    assert_shared(response)
    response = await http.request(method, FILE, content=b"x")
    assert response.status_code == 400
    assert (await http.get(FILE)).content == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/detokenizer/",
        "/detokenizer/" + "0" * 64 + ".onnx",
        FILE.upper(),
        FILE.removesuffix(".onnx"),
        FILE + "/",
        "/" + FILE,
        "/detokenizer/neighbour.onnx",
        "/favicon.ico",
    ],
)
async def test_what_there_is_not_is_404_for_every_origin(
    http: httpx.AsyncClient, path: str
) -> None:
    response = await http.get(path)
    assert response.status_code == 404
    assert_shared(response)


async def test_health_says_live_always_and_ready_when_it_is(
    http: httpx.AsyncClient, site: tuple[Gateway, str]
) -> None:
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200
    site[0]._ready = False
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 503


async def test_every_request_of_a_connection_is_checked(
    site: tuple[Gateway, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not the first alone: a proxy may send those of many clients by one connection."""
    gateway, url = site
    good = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    for later, status in (
        (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET http://127.0.0.1/livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"400"),
        (b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx", b"400"),
        (
            b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n",
            b"400",
        ),
        (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
    ):
        answer = await raw(url, good, then=later)
        first, _, second = answer.partition(b"live\n")
        assert status_of(first) == 200
        assert second.split(b" ")[1] == status, (later, second)
        assert b"live" not in second
        await until(lambda: nobody(gateway))
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_a_fault_of_ours_is_500_and_told_to_the_operator(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rowcast_server.gateway.sending._names", lambda *_: 1 / 0)
    response = await http.get(FILE)
    assert (response.status_code, response.text) == (500, "internal error\n")
    assert_shared(response)
    assert "ZeroDivisionError" in caplog.text
    assert (await http.get("/livez")).status_code == 200


async def test_requests_one_behind_the_other_are_all_answered(site: tuple[Gateway, str]) -> None:
    request = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n"
    last = f"{request}Connection: close\r\n\r\n"
    answer = await raw(site[1], (f"{request}\r\n" * 9 + last).encode())
    assert answer.count(b"HTTP/1.1 200 OK") == 10


async def test_who_speaks_http_1_0_is_answered_and_let_go(site: tuple[Gateway, str]) -> None:
    assert status_of(await raw(site[1], b"GET /livez HTTP/1.0\r\n\r\n")) == 200
    await until(lambda: nobody(site[0]))


async def test_an_upgrade_on_a_connection_that_spoke_http_is_no_websocket(
    site: tuple[Gateway, str],
) -> None:
    good = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    later = (
        f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = await raw(site[1], good.encode(), then=later.encode())
    assert b" 101 " not in answer


async def test_its_log_shows_no_view_key(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rowcast_server")
    for path in (f"/pictures/{'ab' * 16}/0", f"/pictures/{'ab' * 16}/0/x", f"/{'ab' * 16}"):
        assert (await http.get(path)).status_code == 404
    await http.get(FILE)
    lines = [each.getMessage() for each in caplog.records if each.name.endswith("gateway.web")]
    assert len(lines) == 4
    assert "GET /pictures/{view_key}/{image}: 404" in lines[0]
    assert "an unknown path" in lines[1]
    assert "abab" not in "\n".join(lines)
    assert "GET /detokenizer/{name}: 200, " in lines[3]


async def test_a_gateway_that_was_never_started_can_be_closed() -> None:
    studio = Studio()
    async with open_gateway(Studio(loop=asyncio.get_running_loop())) as (gateway, _):
        other = Gateway(
            gateway._listener.config,
            gateway._listener.doorman._clients,
            lambda *_: pytest.fail("nobody came"),
            {},
            PictureStates(studio.book, studio.drawer),
        )
        await other.close()
