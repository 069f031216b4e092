"""The sockets that a server listens on: TCP, a Unix socket, or those that systemd gives.

Bound before a model is loaded, so that a port that is taken is told at once.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rowcast.errors import RowcastError

from ..config import ServerConfig

SYSTEMD_FIRST: Final = 3  # the first descriptor of sd_listen_fds(3)
BACKLOG: Final = 1_024
WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass
class Sockets:
    """Bound sockets: ``main`` of both protocols, ``http`` of HTTP alone, if it is apart."""

    main: list[socket.socket]
    http: list[socket.socket] = field(default_factory=list)
    unix: Path | None = None  # to be removed
    given: bool = False  # by systemd

    @property
    def port(self) -> int | None:
        """The TCP port of ``main``; None for a Unix socket."""
        return _port(self.main[0])

    @property
    def http_port(self) -> int | None:
        """The TCP port of HTTP."""
        return _port((self.http or self.main)[0])

    @property
    def address(self) -> str:
        """Where ``main`` listens: an IP address, or the path of a Unix socket."""
        return _address(self.main[0])

    @property
    def is_local(self) -> bool:
        """True if only programs of this machine can connect."""
        return all(
            is_unix(each) or ipaddress.ip_address(_address(each).partition("%")[0]).is_loopback
            for each in (*self.main, *self.http)
        )

    def close(self) -> None:
        for each in (*self.main, *self.http):
            each.close()
        if self.unix is not None:
            self.unix.unlink(missing_ok=True)
            self.unix = None  # another server may have it from now on


def bind(config: ServerConfig) -> Sockets:
    """Bind what the settings say. Raises RowcastError, naming the option, where it cannot be."""
    given = _given()
    if given:
        return Sockets(given, given=True)
    if config.unix is not None:
        return Sockets([_bound_unix(config.unix)], unix=config.unix)
    with ExitStack() as undo:
        main = _bound(config.host, config.port, "--port")
        undo.callback(Sockets(main).close)
        http = []
        if config.http_port is not None:
            http = _bound(config.host, config.http_port, "--http-port")
        undo.pop_all()
        return Sockets(main, http)


def url_host(host: str) -> str:
    """A host as it stands in a URL on this machine: a wildcard is no address to connect to; IPv6
    addresses are in brackets (RFC 3986 section 3.2.2)."""
    host = WILDCARDS.get(host, host)
    return f"[{host}]" if ":" in host else host


def is_unix(bound: socket.socket) -> bool:
    """True if it is no TCP socket."""
    return bound.family not in (socket.AF_INET, socket.AF_INET6)


def _port(bound: socket.socket) -> int | None:
    if is_unix(bound):
        return None
    port: int = bound.getsockname()[1]
    return port


def _address(bound: socket.socket) -> str:
    name = bound.getsockname()
    address: str = name[0] if isinstance(name, tuple) else name
    return address


def _given() -> list[socket.socket]:
    """The listening sockets that this process was started with (socket activation)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "0")
    try:
        return [socket.socket(fileno=SYSTEMD_FIRST + number) for number in range(int(count))]
    except (ValueError, OSError) as error:
        raise RowcastError(
            f"LISTEN_FDS={count!r} sockets cannot be had from who started this ({error}); unset it"
        ) from error


def _bound(host: str, port: int, option: str) -> list[socket.socket]:
    """A socket on each address of a host, all of one port."""
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        undo.callback(Sockets(sockets).close)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                bound = socket.socket(family, kind, protocol)
                sockets.append(bound)
                if os.name == "posix":  # elsewhere it would let two servers share a port
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if len(sockets) > 1:
                    address = (address[0], sockets[0].getsockname()[1], *address[2:])
                bound.bind(address)
        except OSError as error:
            raise _cannot_listen(host, port, option, error) from error
        undo.pop_all()
        return sockets


def _bound_unix(path: Path) -> socket.socket:
    """A Unix socket at a path, in place of one on which nobody listens any more."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                    path.unlink()
    except OSError:
        pass  # nothing is there, or binding will say what is wrong
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        words = "another server listens there" if error.errno == errno.EADDRINUSE else error
        raise RowcastError(f"--unix {path}: {words}") from error
    return bound


def _cannot_listen(host: str, port: int, option: str, error: OSError) -> RowcastError:
    where = f"cannot listen on {host}, port {port}: {error.strerror or error}"
    match error.errno:
        case errno.EADDRINUSE:
            where += f"; is another server running? choose another port with {option}"
        case errno.EACCES:
            where += f"; choose a port above 1023 with {option}"
        case _:
            where += "; --host must name an address of this machine"
    return RowcastError(where)
