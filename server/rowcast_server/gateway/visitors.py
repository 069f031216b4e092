"""Who comes: from which address, by which name of this server, from which page, with which token.

Checked at every request, before it is a WebSocket or an answer.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from ..access import Grant
from ..clients import Clients, RateLimited, Visitor
from ..config import ServerConfig
from ..errors import CloseConnection
from .request_head import RequestHead, RequestRefused

ANY: Final = "*"
UNKNOWN: Final = "unknown"  # the address of who came by a Unix socket
IPV6_PREFIX: Final = 64  # of one subscriber (RFC 6177): its addresses count as one
REMEMBERED: Final = 4_096  # addresses and names: most come again, and reading one takes 20 us
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MAX_PORT: Final = 65_535
# RFC 3986 section 3.2. (`urlsplit` takes `[::1]evil.example` for ::1, and drops tabs.)
_AUTHORITY: Final = re.compile(r"(?:\[([0-9a-z:.%_~-]+)\]|([^\[\]:/?#@]+))(?::([0-9]{0,5}))?")
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)")


class Transport(Protocol):
    """The part of asyncio's transports that tells who is at the other end."""

    def get_extra_info(self, name: str) -> Any: ...


class Doorman:
    """The rules of a server, and who is a proxy that may speak for others."""

    def __init__(self, config: ServerConfig, clients: Clients) -> None:
        self._clients = clients
        self._proxies = [ipaddress.ip_network(each) for each in config.trusted_proxies]
        self._hosts = {"localhost", config.host.lower(), socket.gethostname().lower()}
        self._hosts |= {host.lower() for host in config.allow_hosts}
        self._origins = {origin.lower() for origin in config.allow_origins}
        if config.public_url is not None:
            public = urlsplit(config.public_url)
            self._hosts.add((public.hostname or "").lower())
            self._origins.add(f"{public.scheme}://{public.netloc}".lower())

    def is_proxy(self, address: str) -> bool:
        """True if what this peer says of where a request comes from is believed."""
        if address == UNKNOWN:
            return True  # only a program of this machine can open a Unix socket
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)

    def visitor(self, asked: RequestHead, peer: str) -> Visitor:
        """Who sent this request. Raises RequestRefused for one who may not."""
        name = asked.fields.get("host")
        host = self._checked_host(name)
        if asked.is_websocket:
            self._check_origin(asked.fields.get("origin"), name)
        address = subscriber(self._address(asked, peer))
        return Visitor(address, host, self._granted(asked, address))

    def _address(self, asked: RequestHead, peer: str) -> str:
        """The nearest address that is no proxy's (X-Forwarded-For, from the right)."""
        address = peer
        for said in reversed(asked.fields.get("x-forwarded-for", "").split(",")):
            if not self.is_proxy(address) or _parsed(said.strip()) is None:
                break
            address = said.strip()
        return address

    def _checked_host(self, field: str | None) -> str | None:
        """Against DNS rebinding (R-118): a page's own name that was pointed at this machine."""
        if field is None:
            return None
        host = _host(field)
        if not host:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "the Host field names no host")
        if host not in self._hosts and ANY not in self._hosts and _parsed(host) is None:
            raise RequestRefused(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server does not go by the name {host!r}; its operator can add it by "
                "--allow-host",
            )
        return host

    def _check_origin(self, origin: str | None, name: str | None) -> None:
        """Programs send none. A page may draw if it came from here, or is listed (R-118)."""
        if origin is None or ANY in self._origins or origin.lower() in self._origins:
            return
        scheme = origin.partition(":")[0]
        if _origin(origin) is None or _origin(origin) != _origin(f"{scheme}://{name}"):
            raise RequestRefused(
                HTTPStatus.FORBIDDEN,
                f"pages of {origin!r} may not draw here; the operator can add it by --allow-origin",
            )

    def _granted(self, asked: RequestHead, address: str) -> Grant | None:
        """What the Authorization field (R-120) gives; None without one."""
        scheme, _, token = asked.fields.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            return self._clients.grant(token.strip(), address)
        except RateLimited as limited:
            raise RequestRefused(
                HTTPStatus.TOO_MANY_REQUESTS, limited.reason, limited.retry_after
            ) from None
        except CloseConnection as refusal:
            raise RequestRefused(HTTPStatus.UNAUTHORIZED, refusal.reason) from None


def peer_of(transport: Transport | None) -> str:
    """The address of a connection's other end."""
    peer = transport and transport.get_extra_info("peername")  # (host, port, …), or of a path
    return peer[0] if isinstance(peer, tuple) else UNKNOWN


def subscriber(address: str) -> str:
    """Those addresses as one that one subscriber has: of IPv6 a whole /64."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


@lru_cache(REMEMBERED)
def _host(field: str) -> str:
    """The host that a Host field names (RFC 9110 section 7.2), empty if it is malformed."""
    named = _named(field)
    return "" if named is None else named[0]


@lru_cache(REMEMBERED)
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is no address. One of IPv4 in IPv6's form is one of IPv4."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _origin(origin: str) -> tuple[str, int | None] | None:
    """Host and port of an origin (RFC 6454 section 7), None if it is opaque or malformed."""
    found = _ORIGIN.fullmatch(origin.lower())
    named = None if found is None else _named(found[2])
    if found is None or named is None:
        return None
    return named[0], named[1] or DEFAULT_PORTS.get(found[1])


def _named(authority: str) -> tuple[str, int | None] | None:
    """The host, in small letters, and the port; None for what is more or less than those."""
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None or int(found[3] or 0) > MAX_PORT:
        return None
    return found[1] or found[2], int(found[3]) if found[3] else None
