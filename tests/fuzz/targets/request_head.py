"""The head of a request: refused, or read as `h11`, another reader of HTTP, reads it."""

from __future__ import annotations

from typing import Final

import h11
from rowcast_server.gateway.request_head import MAX_HEAD_BYTES, RequestRefused, read_head

from tests.fuzz.mutation import worded
from tests.fuzz.target import Target

SEEDS: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost:8765\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD /detokenizer/tiny.onnx HTTP/1.1\r\nHost: draw.example\r\nRange: bytes=0-9\r\n\r\n",
    b"OPTIONS /models HTTP/1.1\r\nhost:x\r\nAccess-Control-Request-Method:\tGET\t\r\n\r\n",
    b"GET /ws?x=%20 HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Origin: https://draw.example\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: rowcast.v1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.7\r\nX-Forwarded-For: ::1"
    b"\r\nAuthorization: Bearer word\r\nContent-Length: 0\r\nX: caf\xe9 \t!\r\n\r\n",
)
METHODS: Final = ("GET", "HEAD", "OPTIONS")
WORDS: Final = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\r\n ", b"\r\n\r\n", b"\x00", b"\x0b", b"\x85",
    b"\xa0", b"GET ", b"POST ", b"CONNECT ", b"PRI ", b"/", b"//", b"*", b"http://other/",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: a\r\n", b"host:b\r\n",
    b"Host:\r\n", b"Host : a\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n",
    b"Content-Length: +0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer_Encoding: x\r\n",
    b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n",
)  # fmt: skip


def read(data: bytes) -> str:
    """What is taken has one meaning: `h11` reads the same method, target and Host."""
    try:
        asked = read_head(data)
    except RequestRefused as refusal:
        return refusal.text
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
    peer.receive_data(data)
    request = peer.next_event()  # raises where it would not take it
    assert isinstance(request, h11.Request), request
    theirs = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    ours = asked.method, asked.target, asked.fields.get("host")
    assert ours == (request.method.decode(), request.target.decode(), theirs.get("host")), ours
    assert asked.fields.keys() == theirs.keys()
    body = peer.next_event()
    assert isinstance(body, h11.EndOfMessage), body
    assert not peer.trailing_data[0], "a second request in the first"
    return f"{asked.method in METHODS} {len(asked.fields)} {asked.is_websocket}"


TARGETS: Final = {"request_head": Target(read, lambda: list(SEEDS), worded(*WORDS))}
