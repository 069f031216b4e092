"""The head of a request: what could be read in two ways is refused, before a library sees it."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus

import pytest
from rowcast_server.gateway.gateway import Gateway
from rowcast_server.gateway.request_head import (
    MAX_HEAD_BYTES,
    RequestHead,
    RequestRefused,
    joined,
    read_head,
)

from tests.support.raw_client import connected, until
from tests.support.web import HOST, nobody, raw, status_of

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WEBSOCKET = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: rowcast.v1\r\n"
)
HOSTILE: dict[str, bytes] = {
    # The request line
    "nothing": b"\r\n",
    "an empty line first": b"\r\n" + GET + b"\r\n",
    "no version": b"GET /\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version in small letters": b"GET / http/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a version with more digits": b"GET / HTTP/1.10\r\nHost: 127.0.0.1\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a method with a colon": b"GET: / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a method of two words": b"GET GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a method in obs-text": b"G\xcbT / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a tab for a space": b"GET\t/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a space at the end": b"GET / HTTP/1.1 \r\nHost: 127.0.0.1\r\n\r\n",
    "a space at the beginning": b" GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target of two words": b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target in absolute form": b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target in authority form": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target in asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target without a slash": b"GET livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target that is not ASCII": "GET /ü HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
    "a target with a NUL": b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target with a DEL": b"GET /\x7f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target with a CR": b"GET /\rx HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a proxy's line": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET + b"\r\n",
    # Lines
    "a bare LF after the line": b"GET / HTTP/1.1\nHost: 127.0.0.1\r\n\r\n",
    "a bare LF after a field": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\nX: y\r\n\r\n",
    "a bare CR after a field": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\rX: y\r\n\r\n",
    "a bare CR in a value": GET + b"X: a\rb\r\n\r\n",
    "a bare LF in a value": GET + b"X: a\nb\r\n\r\n",
    "two CRs": GET + b"X: y\r\r\n\r\n",
    "a folded line": GET + b"X: a\r\n b\r\n\r\n",
    "a folded line by a tab": GET + b"X: a\r\n\tb\r\n\r\n",
    "a first field that is folded": b"GET / HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
    # Fields
    "a space before a colon": b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "a tab before a colon": GET + b"X\t: y\r\n\r\n",
    "a field without a colon": GET + b"X\r\n\r\n",
    "a field without a name": GET + b": y\r\n\r\n",
    "a name of two words": GET + b"X Y: z\r\n\r\n",
    "a name in obs-text": GET + b"X\xfc: y\r\n\r\n",
    "a name with a NUL": GET + b"X\0: y\r\n\r\n",
    "a name in brackets": GET + b"(X): y\r\n\r\n",
    "a value with a NUL": GET + b"X: a\0b\r\n\r\n",
    "a value with an escape": GET + b"X: a\x1b[31m\r\n\r\n",
    "a value with a DEL": GET + b"X: a\x7f\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "two Hosts": GET + b"Host: 127.0.0.1\r\n\r\n",
    "two Hosts, one in small letters": GET + b"host: evil.example\r\n\r\n",
    "two Origins": GET + b"Origin: null\r\nOrigin: null\r\n\r\n",
    "two Authorizations": GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "two Upgrades": GET + WEBSOCKET + b"Upgrade: websocket\r\n\r\n",
    # Bodies
    "chunks": GET + b"Transfer-Encoding: chunked\r\n\r\n",
    "chunks, hidden": GET + b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunks of none": GET + b"Transfer-Encoding: identity\r\n\r\n",
    "an empty encoding": GET + b"Transfer-Encoding:\r\n\r\n",
    "both lengths": GET + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a body": GET + b"Content-Length: 1\r\n\r\nx",
    "two lengths": GET + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": GET + b"Content-Length: 0, 0\r\n\r\n",
    "a length with a sign": GET + b"Content-Length: +0\r\n\r\n",
    "a length of two zeros": GET + b"Content-Length: 00\r\n\r\n",
    "a negative length": GET + b"Content-Length: -1\r\n\r\n",
    "no length": GET + b"Content-Length:\r\n\r\n",
    "a body on a WebSocket": GET + WEBSOCKET + b"Content-Length: 5\r\n\r\nhello",
    "chunks on a WebSocket": GET + WEBSOCKET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # Upgrades
    "a POST that is upgraded": b"POST" + (GET + WEBSOCKET)[3:] + b"\r\n",
    "a HEAD that is upgraded": b"HEAD" + (GET + WEBSOCKET)[3:] + b"\r\n",
    "a get that is upgraded": b"get" + (GET + WEBSOCKET)[3:] + b"\r\n",
    "HTTP/1.0 that is upgraded": (GET + WEBSOCKET).replace(b"1.1", b"1.0", 1) + b"\r\n",
    "an upgrade to HTTP/2": GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an upgrade to either": GET + b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    "an upgrade to nothing": GET + b"Connection: Upgrade\r\nUpgrade:\r\n\r\n",
}
# What the grammar allows, and the server does not.
ODD: dict[str, tuple[bytes, int]] = {
    "a Host without a name": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1/x\r\n\r\n", 400),
    "a Host with a user": (b"GET / HTTP/1.1\r\nHost: a@127.0.0.1\r\n\r\n", 400),
    "a Host with no port": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:x\r\n\r\n", 400),
    "a Host in obs-text": (b"GET / HTTP/1.1\r\nHost: \xfc.example\r\n\r\n", 421),
    "two Hosts in one": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1, evil.example\r\n\r\n", 421),
    "a WebSocket without a key": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
    "a WebSocket of Hixie": (
        GET + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key1: 1\r\n\r\n",
        400,
    ),
    "a field too long": (GET + b"X: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
    "fields too many": (GET + b"X: y\r\n" * 4_000 + b"\r\n", 431),
    "a target too long": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
    "a line without an end": (b"x" * 100_000, 431),
}


def test_an_ordinary_head_is_read() -> None:
    asked = read_head(
        b"GET /a/b?c=%20#d HTTP/1.1\r\nHOST:127.0.0.1 \r\nX-Empty:\r\nAccept: \t a, b\t\r\n"
        b"x-forwarded-for: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nText: \xfc\r\n\r\n"
    )
    fields = {
        "host": "127.0.0.1",
        "x-empty": "",
        "accept": "a, b",
        "x-forwarded-for": "1.1.1.1, 2.2.2.2",
        "text": "ü",
    }
    assert asked == RequestHead("GET", "/a/b?c=%20#d", fields)
    assert not asked.is_websocket


def test_a_head_without_a_body_is_read_however_that_is_said() -> None:
    assert read_head(b"GET / HTTP/1.0\r\n\r\n") == RequestHead("GET", "/", {})
    assert read_head(GET + b"Content-Length: 0\r\n\r\n").method == "GET"
    assert read_head(b"M-SEARCH" + GET[3:] + b"\r\n").method == "M-SEARCH"


@pytest.mark.parametrize("word", [b"websocket", b"WebSocket", b"WEBSOCKET"])
def test_a_websocket_is_told_from_http(word: bytes) -> None:
    assert read_head(GET + WEBSOCKET.replace(b"websocket", word, 1) + b"\r\n").is_websocket


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    whole = head[: head.index(b"\r\n\r\n") + 4] if b"\r\n\r\n" in head else head
    with pytest.raises(RequestRefused) as refused:
        read_head(whole)
    assert refused.value.status == 400
    assert refused.value.text


def test_of_one_kind_there_is_one_and_others_are_lists() -> None:
    assert joined([("A", "1"), ("a", "2"), ("B", "")]) == {"a": "1, 2", "b": ""}
    for name in ("Host", "ORIGIN", "authorization", "Upgrade", "Content-Length"):
        with pytest.raises(RequestRefused):
            joined([(name, "x"), (name.lower(), "x")])


def test_a_refusal_is_an_answer_that_closes() -> None:
    refusal = RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "too many", 7)
    head, _, body = refusal.response().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert {"Connection: close", "Retry-After: 7", "Content-Length: 9"} <= set(lines)
    assert "Cache-Control: no-store" in lines
    assert body == b"too many\n"


async def test_each_is_answered_by_its_status_and_leaves_nothing(
    site: tuple[Gateway, str],
) -> None:
    gateway, url = site
    cases = {name: (head, 400) for name, head in HOSTILE.items() if b"\r\n\r\n" in head} | ODD
    assert len(cases) >= 80
    for name, (head, status) in cases.items():
        answer = await raw(url, head)
        assert status_of(answer) == status, (name, answer)
        assert b"HTTP/1.1 " not in answer[1:], f"{name}: two answers"
        await until(lambda: nobody(gateway))


async def test_a_head_may_come_byte_by_byte(site: tuple[Gateway, str]) -> None:
    for request, status in (
        (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 200),
        (GET + b"Host: 127.0.0.1\r\n\r\n", 400),
    ):
        port = int(site[1].rpartition(":")[2])
        reader, writer = await asyncio.open_connection(HOST, port)
        for byte in request:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert status_of(await reader.read()) == status
        writer.close()


async def test_random_bytes_are_refused_or_wait_and_the_server_goes_on(
    site: tuple[Gateway, str],
) -> None:
    gateway, url = site
    for _ in range(20):
        answer = await raw(url, os.urandom(200) + b"\r\n\r\n")
        assert status_of(answer) == 400
        assert await raw(url, b"\n" * 50, end=True) == b""
    await until(lambda: nobody(gateway))
    async with connected(url.replace("http", "ws")) as client:
        assert client.welcome
