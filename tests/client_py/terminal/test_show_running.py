"""`rowcast ps`: what a server draws at the moment, for people and for programs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rowcast.messages import DetokenizerFile
from rowcast.pixels import http_client
from rowcast.sync import connect
from rowcast_server.access import sign_token
from rowcast_server.cluster.seam import ReplicaState
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, Captured, report, run, told
from tests.support.fake_server import MODEL, Peer, fake_server
from tests.support.pace import paced_server
from tests.support.servers import running_server
from tests.support.site import Handler, sends, site

IDLE = b'{"slots": 8, "places": 64, "waiting": 0, "drawing": []}'


@pytest.fixture(scope="module")
def busy(tiny_folder: Path) -> Iterator[RowcastServer]:
    """Two slots, that draw, one row each so far; and a picture that waits."""
    with (
        paced_server(tiny_folder, slots=2, queue_limit=5) as (server, gate),
        connect(server.ws_url, decode=False) as client,
    ):
        gate.allow(1)
        events = client.generate(PROMPT, seed=1, images=3, stop_row=3)
        held = {0: 0, 1: 0, 2: 0}
        while held != {0: 1, 1: 1, 2: 0}:
            event = next(events)
            held[event.index] = event.picture.rows_held
        yield server
        gate.open()


def test_for_programs(busy: RowcastServer, capsys: Captured) -> None:
    assert run("ps", busy.ws_url, "--json") == 0
    answer = report(capsys)
    seconds = [each.pop("seconds") for each in answer["drawing"]]
    assert len(bytes.fromhex(answer.pop("revision"))) == 8
    assert answer == {
        "model": "tiny",
        "slots": 2,
        "places": 5,
        "waiting": 1,
        "drawing": [{"rows": 1, "stop_row": 3}] * 2,
    }
    assert all(0 < each < 60 for each in seconds)


def test_for_people(busy: RowcastServer, capsys: Captured) -> None:
    assert run("ps", busy.ws_url) == 0
    first, *drawn = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"tiny, revision [0-9a-f]{16}: 2 of 2 slots draw, 1 of 5 places in the queue are taken",
        first,
    )
    assert [line.rsplit(" ", 2)[0] for line in drawn] == ["  row 1 of 3, drawn for"] * 2


def test_on_a_port_of_their_own(tiny_folder: Path, capsys: Captured) -> None:
    with running_server(tiny_folder, http_port=0) as server:
        assert run("ps", server.ws_url, "--json") == 0
    assert report(capsys)["drawing"] == []


def test_where_tokens_are_asked_for(tiny_folder: Path, tmp_path: Path, capsys: Captured) -> None:
    secrets = tmp_path / "secret"
    secrets.write_text("s" * 32)
    with running_server(tiny_folder, token_secret_file=secrets) as server:
        for rights, code in ((["watch"], 0), (["draw"], 1)):
            token = sign_token(b"s" * 32, "alice", time.time() + 60, rights)
            assert run("ps", server.ws_url, "--token", token) == code
    captured = capsys.readouterr()
    assert captured.out.count("slots draw") == 1
    assert "status 403: this token may not watch pictures" in captured.err
    assert token not in captured.err


def test_replicas_of_a_cluster(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tiny_server: RowcastServer
) -> None:
    states = tuple(ReplicaState(name, "57ee", 1, 0, 2, 5) for name in ("one", "two"))
    monkeypatch.setattr(type(tiny_server._engines), "replicas", states)
    assert run("ps", tiny_server.ws_url) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"  replica {name}, revision 57ee: 1 of 2 slots draw, 0 of 5 places are taken"
        for name in ("one", "two")
    ]
    assert run("ps", tiny_server.ws_url, "--json") == 0
    assert report(capsys)["replicas"] == [asdict(state) for state in states]


async def greets(peer: Peer) -> None:
    await peer.greet()
    await peer.connection.wait_closed()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"not found\n", 404, "answered with status 404: not found"),
        (b"\xff\x1b[31m" + b"x" * 3_000, 500, r"status 500: �\x1b[31mxxx"),
        (b"no JSON", 200, "what the server draws cannot be read"),
        (IDLE.replace(b"[]", b"7"), 200, "Expected `array`, got `int`"),
        (IDLE.replace(b"[]", b'[{"rows": 1, "stop_row": 4, "seconds": NaN}]'), 200, "read"),
        (b" " * 1_048_577, 200, "answered with more than 1 MiB"),
    ],
)
def test_a_server_that_does_not_tell(
    body: bytes, status: int, words: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def answer(handler: Handler) -> None:
        asked.append((handler.path, handler.headers["Authorization"]))
        sends(body, status=status)(handler)

    with site(answer) as web, fake_server(greets) as fake:
        file = DetokenizerFile("full", "fp32", 1, b"h" * 32, f"{web.url}/a.onnx")
        monkeypatch.setattr(Peer.greet, "__defaults__", (replace(MODEL, files=[file]),))
        assert run("ps", fake.url, "--token", "s3cret") == 1
    assert asked == [("/pictures", "Bearer s3cret")]
    said = told(capsys)
    assert words in said
    assert "s3cret" not in said
    assert len(said) < 400


def test_another_host_is_not_asked(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files on another host are not beside the server: it is asked at its own address."""
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 5.0)
    with fake_server(greets) as fake:
        file = DetokenizerFile("full", "fp32", 1, b"h" * 32, "http://192.0.2.1/detokenizer/a.onnx")
        monkeypatch.setattr(Peer.greet, "__defaults__", (replace(MODEL, files=[file]),))
        assert run("ps", fake.url) == 1
    assert fake.url.replace("ws", "http") in told(capsys)
