"""Sockets that systemd gives: who may come is asked of them, not of --host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rowcast.errors import RowcastError
from rowcast_server.config import ServerConfig
from rowcast_server.gateway import sockets
from rowcast_server.server import access_for


@pytest.fixture
def given(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[sockets.Sockets]:
    """What this process binds to where it was started with a socket at an address."""
    where = request.param
    family = socket.AF_UNIX if where == "unix" else socket.AF_INET
    held = socket.socket(family)
    held.bind(str(tmp_path / "socket") if where == "unix" else (where, 0))
    monkeypatch.setattr(sockets, "SYSTEMD_FIRST", held.detach())
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    found = sockets.bind(ServerConfig())
    yield found
    found.close()


@pytest.mark.parametrize("given", ["0.0.0.0"], indirect=True)
def test_one_beyond_this_machine_is_not_open_unless_that_is_said(given: sockets.Sockets) -> None:
    """Though --host is 127.0.0.1 where nothing else is said."""
    with pytest.raises(RowcastError) as caught:
        access_for(ServerConfig(), given)
    assert str(caught.value) == (
        "LISTEN_FDS: the socket at 0.0.0.0 lets everybody draw who reaches this machine; ask for a "
        "token by --token-file, or say --open"
    )
    assert not access_for(ServerConfig(open=True), given).asks
    assert access_for(ServerConfig(tokens=frozenset({"one"})), given).asks


@pytest.mark.parametrize("given", ["127.0.0.1", "unix"], indirect=True)
def test_one_of_this_machine_needs_no_token(given: sockets.Sockets) -> None:
    """Whatever --host says, at which nobody listens."""
    assert not access_for(ServerConfig(host="0.0.0.0"), given).asks


@pytest.mark.parametrize("count", ["some", "1"])
def test_sockets_that_are_none_are_told(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setattr(sockets, "SYSTEMD_FIRST", 1_000_000)  # no descriptor
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(RowcastError, match=rf"^LISTEN_FDS='{count}' sockets cannot be had from "):
        sockets.bind(ServerConfig())
