"""`rowcast openai` as a process: what it prints, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest
from rowcast.cli import main
from rowcast_server.server import RowcastServer

from tests.support.client.commands import Captured
from tests.support.client.openai_calls import PROMPT

ROWCAST = [sys.executable, "-m", "rowcast", "openai"]
PATIENCE = 30


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*ROWCAST, "--port", "0", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            word, url = process.stdout.readline().split()
            assert word == "ready"
            yield process, url
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_it_answers_until_it_is_stopped(tiny_server: RowcastServer, number: int, code: int) -> None:
    with running(tiny_server.ws_url) as (process, url):
        with openai.OpenAI(base_url=url, api_key="any") as client:
            assert client.images.generate(prompt=PROMPT).data
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert err.strip().startswith("rowcast")


def test_it_stops_with_the_program_that_started_it(tiny_server: RowcastServer) -> None:
    with running(tiny_server.ws_url, "--stop-at-eof") as (process, _):
        _, err = process.communicate(timeout=PATIENCE)  # which closes its stdin
    assert process.returncode == 143
    assert "Traceback" not in err


def test_the_token_of_the_environment_is_nobodys(
    tiny_server: RowcastServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who starts a gateway in a shell with a token does not mean to give it to all."""
    monkeypatch.setenv("ROWCAST_TOKEN", "mine")
    seen = []

    async def serve(options: object, upstream: object) -> None:
        seen.append(upstream)

    monkeypatch.setattr("rowcast.openai_gateway.command._serve", serve)
    assert main(["openai", tiny_server.ws_url]) == 0
    assert main(["openai", tiny_server.ws_url, "--token", "ours"]) == 0
    assert [each.token for each in seen] == [None, "ours"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--port", "65536"), "--port must be 0 to 65535"),
        (("--workers", "0"), "--workers must be 1 to 256"),
        (("--token", "ours", "--host", "0.0.0.0"), "whoever reaches it would draw with --token"),
    ],
)
def test_wrong_words(words: tuple[str, ...], complaint: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["openai", *words])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_address_that_cannot_be_had(tiny_server: RowcastServer, capsys: Captured) -> None:
    taken = tiny_server.http_url.rpartition(":")[2]
    assert main(["openai", tiny_server.ws_url, "--port", taken]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"rowcast openai: --host 127.0.0.1 --port {taken}: ")
    assert captured.out == ""
