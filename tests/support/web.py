"""What the HTTP side serves in tests, and bare requests to it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from rowcast_server.gateway.files import file_name
from rowcast_server.gateway.gateway import Gateway
from websockets.exceptions import InvalidStatus

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import connected, until

HOST = "127.0.0.1"
CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).digest()
FILE = f"/{file_name(SHA256)}"
REQUEST = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
CLOSING = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


async def raw(url: str, request: bytes, end: bool = False, then: bytes = b"") -> bytes:
    """All that is answered to these bytes, until the server closes.

    ``end`` closes our side; ``then`` is sent once something was answered.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    if end:
        writer.write_eof()
    answer = b""
    async with asyncio.timeout(20):
        try:
            while piece := await reader.read(65_536):
                answer += piece
                writer.write(then)
                then = b""
        except ConnectionResetError:
            pass
    writer.close()
    return answer


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 where there was none."""
    version, _, rest = answer.partition(b" ")
    assert version in (b"", b"HTTP/1.0", b"HTTP/1.1"), answer
    return int(rest.split(b" ")[0] or 0)


def nobody(gateway: Gateway) -> bool:
    """True if no connection is counted any more, read or unread."""
    listener = gateway._listener
    return not (
        listener._arrivals
        or listener._by_address
        or listener._connections
        or listener._http_connections
    )


def assert_shared(response: httpx.Response) -> None:
    """Any page may read it, also one that is cross-origin isolated."""
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Timing-Allow-Origin"] == "*"
    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Content-Length", "Content-Range", "ETag"} <= set(exposed)


class Bare:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes = REQUEST) -> bytes:
        """The beginning of the answer, empty where there is none."""
        self.writer.write(request)
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read(65_536)
        return b""

    async def is_closed(self) -> bool:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                assert await self.reader.read() == b""
        return True


@asynccontextmanager
async def bare(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Bare]:
    port = int(url.rpartition(":")[2])
    made = Bare(*await asyncio.open_connection(HOST, port, ssl=tls))
    try:
        yield made
    finally:
        made.writer.transport.abort()


@asynccontextmanager
async def gate(**settings: Any) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway whose counts are back at nothing in the end."""
    async with open_gateway(Studio(loop=asyncio.get_running_loop()), **settings) as (gateway, url):
        yield gateway, url
        await until(lambda: nobody(gateway))


async def refusal_of(url: str, **arguments: Any) -> tuple[int, str | None]:
    """Status and Retry-After of a WebSocket that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with connected(url, **arguments):
            pass
    response = refused.value.response
    return response.status_code, response.headers.get("Retry-After")
