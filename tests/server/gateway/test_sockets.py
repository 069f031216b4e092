"""Bound sockets: what cannot be had is told by its option, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from rowcast.errors import RowcastError
from rowcast_server.config import ServerConfig
from rowcast_server.gateway import sockets
from rowcast_server.gateway.sockets import bind, url_host

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def given_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    monkeypatch.delenv("LISTEN_FDS", raising=False)


def bound(**settings: Any) -> sockets.Sockets:
    return bind(ServerConfig(**{"port": 0, **settings}))


def test_any_port_is_told_and_both_protocols_are_there() -> None:
    made = bound()
    assert made.port
    assert made.http_port == made.port
    assert made.http == []
    made.close()


def test_two_ports_are_two() -> None:
    made = bound(http_port=0)
    assert made.port
    assert made.http_port
    assert made.port != made.http_port
    made.close()


def test_a_host_of_several_addresses_has_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    made = bound(host="many.example")
    addresses = [each.getsockname() for each in made.main]
    assert addresses == [("127.0.0.1", made.port), ("127.0.0.2", made.port)]
    made.close()


@pytest.mark.parametrize(("option", "setting"), [("--port", "port"), ("--http-port", "http_port")])
def test_a_port_that_is_taken_is_named_with_its_option(option: str, setting: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RowcastError) as told:
            bound(**{setting: port})
    words = f"cannot listen on {HOST}, port {port}: Address already in use; is another server"
    assert str(told.value) == f"{words} running? choose another port with {option}"


def test_a_port_is_free_again_where_the_other_was_taken() -> None:
    with socket.create_server((HOST, 0)) as taken, socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(RowcastError):
            bound(port=port, http_port=taken.getsockname()[1])
        bound(port=port).close()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied"), "choose a port above 1023 with --port"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "--host must name an address of this machine"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known; --host"),
    ],
)
def test_what_else_goes_wrong_has_its_advice(
    monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(RowcastError, match=words):
        bound(port=80)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("pictures.example.org", "pictures.example.org"),
    ],
)
def test_a_host_in_a_url_is_one_to_connect_to(host: str, shown: str) -> None:
    assert url_host(host) == shown


class TestUnix:
    def test_it_is_there_and_gone_afterwards(self, tmp_path: Path) -> None:
        path = tmp_path / "rowcast.sock"
        made = bound(unix=path)
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (made.port, made.http_port) == (None, None)
        made.close()
        assert not path.exists()

    def test_one_that_a_lost_server_left_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "rowcast.sock"
        with socket.socket(socket.AF_UNIX) as lost:
            lost.bind(str(path))
        bound(unix=path).close()

    def test_one_that_is_listened_at_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "rowcast.sock"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            with pytest.raises(RowcastError, match=f"--unix {path}: another server listens there"):
                bound(unix=path)
            assert path.exists()

    def test_a_file_is_never_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("mine")
        with pytest.raises(RowcastError, match=f"--unix {path}: "):
            bound(unix=path)
        assert path.read_text() == "mine"

    def test_a_place_that_is_none_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "rowcast.sock"
        with pytest.raises(RowcastError, match=f"--unix {path}: "):
            bound(unix=path)


class TestGiven:
    def test_sockets_of_systemd_go_before_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server((HOST, 0)) as first:
            port = first.getsockname()[1]
            monkeypatch.setattr(sockets, "SYSTEMD_FIRST", first.detach())
            monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
            monkeypatch.setenv("LISTEN_FDS", "1")
            made = bound(port=1, host="192.0.2.1")
            assert (made.port, made.http) == (port, [])
            made.close()

    def test_those_of_another_process_are_not_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
        monkeypatch.setenv("LISTEN_FDS", "1")
        made = bound()
        assert made.main[0].getsockname()[0] == HOST
        made.close()
