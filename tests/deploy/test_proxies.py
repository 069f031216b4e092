"""The proxies of deploy/ before real servers: pictures, files, addresses, reloads and restarts."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rowcast
from rowcast.events import Event, PictureDone, RowsArrived
from rowcast.messages import SUBPROTOCOL, DoneReason
from rowcast_server.serve_options import parse
from websockets.sync.client import connect as open_websocket

from tests.deploy.front import DEPLOY, NAME, PATIENCE, Certificate, front, replaced
from tests.support.client.clients import PROMPT, first_rows, ids
from tests.support.client.shells import AsyncShell
from tests.support.pace import paced_server
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

PROXIES = ("nginx", "caddy")
FAR = "203.0.113.9"  # an address of nobody (RFC 5737)
TOKEN = "s3cret"
# As systemd does it: the socket is descriptor 3, and the environment says for whom.
ACTIVATE = """
import os, sys
_, descriptor, *options = sys.argv
os.dup2(int(descriptor), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "rowcast", *options])
"""


def shipped_settings() -> dict[str, Any]:
    """Of server.toml, those by which a server knows its proxy and its name."""
    _, config = parse(["--config", str(DEPLOY / "server.toml")])
    names = ("allow_hosts", "trusted_proxies", "ping_interval")
    return {name: getattr(config, name) for name in names}


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def comers(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The addresses, as servers of this process see them, of whose WebSockets were opened."""
    caplog.set_level("INFO", "rowcast_server")
    end = " connected"
    return lambda: [text.removesuffix(end) for text in caplog.messages if text.endswith(end)]


def come(port: int, source: str, said: str, context: ssl.SSLContext | None = None) -> None:
    """Open a WebSocket from an address of this machine, by TLS through a proxy or without."""
    sock = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
    secure: dict[str, Any] = {} if context is None else {"ssl": context}
    path = "" if context is None else "pictures/"
    with open_websocket(
        f"{'ws' if context is None else 'wss'}://localhost:{port}/{path}",
        sock=sock,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        additional_headers={"X-Forwarded-For": said},
        open_timeout=PATIENCE,
        **secure,
    ):
        pass


@pytest.mark.parametrize("by", ["tcp", "unix"])
@pytest.mark.parametrize("kind", PROXIES)
def test_pictures_files_and_pages_come_by_one_port_and_addresses_are_the_clients(
    kind: str,
    by: str,
    tiny_folder: Path,
    folder: Path,
    tmp_path: Path,
    certificate: Certificate,
    comers: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "socket"
    settings = shipped_settings() | ({"unix": path} if by == "unix" else {})
    context = ssl.create_default_context(cafile=str(certificate.authority))
    with (
        running_server(tiny_folder, **settings) as server,
        front(kind, folder, server.ws_url[5:], certificate) as proxy,
        httpx.Client(verify=context, trust_env=False) as http,
    ):
        with rowcast.connect_sync(proxy.url, cache=tmp_path / "files") as client:
            [done] = client.pictures(PROMPT, seed=5)
            assert done.reason is DoneReason.COMPLETE
            assert done.image is not None
            assert done.tier == "full", "the file came by the prefix"
        page = http.get(proxy.https)
        assert page.text == "<p>pictures</p>"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        for host, status in ((f"{NAME}:{proxy.port}", 200), ("elsewhere.example", None)):
            answer = http.get(f"{proxy.https}/pictures/readyz", headers={"Host": host})
            if status is None:  # caddy has no such site, and nginx leaves it to the server
                assert "ready" not in answer.text
            else:
                assert (answer.status_code, answer.text) == (status, "ready\n")
                assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        until(lambda: any(" GET /readyz" in text for text in caplog.messages))
        requests = [text for text in caplog.messages if " GET " in text]
        assert {text.partition(" GET ")[0] for text in requests} == {"127.0.0.1"}

        come(proxy.port, "127.0.0.2", FAR, context)
        until(lambda: len(comers()) == 2)
        assert comers() == ["127.0.0.1", "127.0.0.2"]
        if by == "tcp":  # past the proxy, and as one
            come(int(server.ws_url[5:].partition(":")[2]), "127.0.0.3", FAR)
            come(int(server.ws_url[5:].partition(":")[2]), "127.0.0.1", FAR)
            until(lambda: len(comers()) == 4)
            assert comers()[2:] == ["127.0.0.3", FAR]


def check_rows(events: list[Event]) -> None:
    """Raise AssertionError unless every row came once, in order, as the last event has them."""
    new = [event for event in events if isinstance(event, RowsArrived)]
    assert [event.first_row for event in new] == list(
        np.cumsum([0, *(len(event.rows) for event in new[:-1])])
    )
    rows = np.concatenate([event.rows for event in new])
    assert rows.tolist() == ids(events[-1])[: len(rows)]


@pytest.mark.parametrize("kind", PROXIES)
def test_a_reload_in_the_middle_of_a_picture_costs_no_row(
    kind: str,
    tiny_folder: Path,
    folder: Path,
    certificate: Certificate,
    comers: Callable[[], list[str]],
) -> None:
    with (
        paced_server(tiny_folder, **shipped_settings()) as (server, gate),
        front(kind, folder, server.ws_url[5:], certificate) as proxy,
        AsyncShell(proxy.url, decode=False) as client,
    ):
        events = client.generate(PROMPT, seed=5)
        gate.allow(rows=2)
        before = first_rows(events)
        proxy.reload()
        until(lambda: len(comers()) == 2)
        gate.open()
        seen = [before, *events]
        check_rows(seen)
        assert isinstance(seen[-1], PictureDone)
        assert seen[-1].reason is DoneReason.COMPLETE
        with rowcast.connect_sync(server.ws_url, decode=False) as near:
            [undisturbed] = near.pictures(PROMPT, seed=5)
    assert ids(seen[-1]) == ids(undisturbed)


@contextmanager
def unit_started(held: socket.socket, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """What rowcast.service starts, with the socket of rowcast.socket, once it takes jobs."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(DEPLOY / "rowcast.service")
    line = replaced(unit["Service"]["ExecStart"], {"/etc/rowcast": folder, "%d": folder})
    program, *options = shlex.split(line)
    assert program == "/opt/rowcast/bin/rowcast"
    process = subprocess.Popen(
        [sys.executable, "-c", ACTIVATE, str(held.fileno()), *options],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[held.fileno()],
        env=os.environ | {"ROWCAST_CACHE": str(folder)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ws://127.0.0.1:")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_after_a_restart_of_the_unit_pictures_are_drawn_on(
    folder: Path, tmp_path: Path, certificate: Certificate
) -> None:
    """They are of 1024 tokens, so that they take longer than the test."""
    model = tiny_model(tmp_path / "model", rows=64, cols=16, width=128, decoder_layers=8)
    settings = {'"postcard"': f'"{model}"', "drain = 20": "drain = 0", "9765": "0"}
    shipped = (DEPLOY / "server.toml").read_text("utf-8")
    (tmp_path / "server.toml").write_text(replaced(shipped, settings), "utf-8")
    (tmp_path / "tokens").write_text(TOKEN, "utf-8")
    with ExitStack() as stack:
        held = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        first = stack.enter_context(unit_started(held, tmp_path))
        drawn = []
        for kind in PROXIES:
            proxy = stack.enter_context(front(kind, folder / kind, address, certificate))
            client = stack.enter_context(AsyncShell(proxy.url, token=TOKEN, decode=False))
            drawn.append(client.generate(PROMPT, seed=5))
        seen: list[list[Event]] = [[first_rows(events)] for events in drawn]
        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE) == 0
        stack.enter_context(unit_started(held, tmp_path))
        for events, before in zip(drawn, seen, strict=True):
            for _ in range(2):  # one may have come before
                before.append(first_rows(events))
            check_rows(before)
