"""What the HTTP side serves in tests, and bare requests to it."""

from __future__ import annotations

import asyncio
import hashlib
from urllib.parse import urlsplit

import httpx
from rowcast_server.gateway.files import file_name
from rowcast_server.gateway.gateway import Gateway

HOST = "127.0.0.1"
CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).digest()
FILE = f"/{file_name(SHA256)}"


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
