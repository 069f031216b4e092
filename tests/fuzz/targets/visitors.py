"""Who comes: nobody speaks for another but a proxy, no foreign page draws, no foreign name fits."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from functools import cache
from typing import Final

from rowcast_server.access import Access
from rowcast_server.clients import Clients
from rowcast_server.config import ServerConfig
from rowcast_server.gateway.request_head import RequestRefused, read_head
from rowcast_server.gateway.visitors import UNKNOWN, Doorman, subscriber

from tests.fuzz.mutation import worded
from tests.fuzz.target import Target

PEERS: Final = (
    "192.0.2.9",
    "10.1.2.3",
    "::1",
    "2001:db8::7",
    UNKNOWN,
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
)
NAMES: Final = ("localhost", "127.0.0.1", "draw.example", "pictures.example")
ORIGINS: Final = ("https://pages.example", "https://pictures.example")
AUTHORITY: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^/?#@:\[\]]+)(?::([0-9]*))?")
WORDS: Final = (
    b"10.1.1.1", b"192.0.2.1", b"::1", b"[::1]", b"::ffff:10.1.1.1", b"%eth0", b",", b", ", b" ",
    b"\t", b"unknown", b"localhost", b"draw.example", b"pages.example", b"evil.example",
    b"https://", b"http://", b"null", b":80", b":443", b":8765", b":99999", b":", b"@", b"/", b"?",
    b"#", b"[", b"]", b"\\", b"\xe9", b"\xad", b"%2e", b".",
)  # fmt: skip


@cache
def doorman() -> Doorman:
    config = ServerConfig(
        trusted_proxies=("10.0.0.0/8", "::1/128"),
        allow_hosts=("draw.example",),
        allow_origins=ORIGINS[:1],
        public_url=ORIGINS[1],
    )
    return Doorman(config, Clients(config, Access(), lambda: 0.0))


def request_of(host: bytes, origin: bytes, said: bytes) -> bytes:
    return (
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost:" + host + b"\r\n"
        b"Origin:" + origin + b"\r\nX-Forwarded-For:" + said + b"\r\n\r\n"
    )


def read(data: bytes) -> str:
    """The first byte chooses the peer; Host, Origin and X-Forwarded-For follow, a line each."""
    peer = PEERS[data[0] % len(PEERS)] if data else UNKNOWN
    lines = [*data[1:].split(b"\n"), b"", b""]
    try:
        asked = read_head(request_of(*lines[:3]))
        visitor = doorman().visitor(asked, peer)
    except RequestRefused as refusal:
        return f"{refusal.status} {refusal.text.partition(' ')[0]}"
    _check_address(visitor.address, peer, asked.fields.get("x-forwarded-for", ""))
    host = asked.fields["host"]
    name = host.lower()
    assert visitor.host is not None
    assert visitor.host in name, visitor
    if visitor.host not in NAMES:
        with suppress(ValueError):
            ipaddress.ip_address(visitor.host.partition("%")[0])
            name = ""
        assert not name or name in _this_machine(), f"{host!r} is no name of ours"
    origin = asked.fields["origin"].lower()
    if origin not in ORIGINS:
        found = AUTHORITY.fullmatch(origin)
        assert found, f"{origin!r} is no origin"
        assert found[1].strip("[]") == visitor.host, f"{origin!r} is not {host!r}"
    return f"{origin in ORIGINS} {visitor.address == peer} {visitor.host in NAMES}"


def _this_machine() -> tuple[str, ...]:
    import socket

    return (socket.gethostname().lower(),)


def _check_address(address: str, peer: str, said: str) -> None:
    listed = [each.strip() for each in said.split(",")]
    if address != subscriber(peer):
        assert doorman().is_proxy(peer), f"{peer} speaks for {address}"
        assert address in map(subscriber, listed), f"{address} is not in {said!r}"
        ipaddress.ip_network(address.partition("%")[0])


def seeds() -> list[bytes]:
    lines = (
        b"localhost:8765\nhttp://localhost:8765\n192.0.2.1, 10.0.0.7",
        b"draw.example\nhttps://pages.example\n",
        b"[::1]:80\nhttp://[::1]\n::1, 2001:db8::1",
        b"127.0.0.1\nhttps://evil.example\nunknown",
        b"evil.example\nnull\n10.0.0.1",
    )
    return [bytes([peer]) + line for peer in range(len(PEERS)) for line in lines]


TARGETS: Final = {"visitors": Target(read, seeds, worded(*WORDS), max_bytes=512)}
