"""`rowcast generate` that fails: what it says, and what is saved all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rowcast.pixels.detokenizer import PAPER
from rowcast.rows_file import load_rows
from rowcast_server.server import RowcastServer

from tests.support.client.clients import announced_by
from tests.support.client.commands import (
    PROMPT,
    Captured,
    names,
    run,
    told,
)
from tests.support.fake_server import Peer, accepted, fake_server, rows
from tests.support.servers import running_server

# Drawing that fails


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([""], "the prompt is empty"),
        (["a \udcff boat"], "no valid text"),
        ([PROMPT, "--images", "0"], "--images must be"),
        ([PROMPT, "--temperature", "0"], "--temperature must be from 0.01 to 10, not 0.0"),
        ([PROMPT, "--temperature", "nan"], "--temperature must be"),
        ([PROMPT, "--temperature", "inf"], "--temperature must be"),
        ([PROMPT, "--model", "other"], "unknown model 'other'; the server has tiny"),
        ([PROMPT, "--seed", "-1"], "--seed must be"),
        ([PROMPT, "--seed", "4294967296"], "--seed must be"),
        ([PROMPT, "--stop-row", "0"], "--stop-row must be"),
        ([PROMPT, "--stop-row", "17"], "--stop-row must be"),
    ],
)
def test_a_request_that_cannot_be(
    tiny_server: RowcastServer, out: Path, capsys: Captured, options: list[str], fault: str
) -> None:
    assert run("generate", tiny_server.ws_url, *options, "--out", out) == 2
    (line,) = told(capsys).splitlines()
    assert line.startswith("rowcast generate: ")
    assert fault in line
    assert names(out) == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["x" * 10_000], "the prompt has 10000 bytes; the server takes at most 2000"),
        ([PROMPT, "--images", "65"], "--images must be 1 to 64, not 65: this server takes no more"),
    ],
)
def test_what_another_server_might_take_is_no_wrong_usage(
    tiny_server: RowcastServer, out: Path, capsys: Captured, options: list[str], fault: str
) -> None:
    assert run("generate", tiny_server.ws_url, *options, "--out", out) == 1
    assert told(capsys) == f"rowcast generate: {fault}"
    assert names(out) == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["ws://127.0.0.1:1"], "give a prompt, or a saved picture with --from"),
        (["ws://127.0.0.1:1", PROMPT, "--from", "x.rows"], "give a prompt, or a saved picture"),
        (["ws://127.0.0.1:1", PROMPT, "--row", "1"], "--row goes with --from"),
        (["ws://127.0.0.1:1", PROMPT, "--seed", "seven"], "invalid int value: 'seven'"),
        (["ws://127.0.0.1:1", PROMPT, "--colour"], "unrecognized arguments: --colour"),
        (["ws://h:1", "--from", "x.rows", "--images", "2"], "--images does not go with --from"),
        (["ws://h:1", "--from", "x.rows", "--top-p", "0.5"], "--top-p does not go with --from"),
        (["ws://h:1", "--from", "x.rows", "--seamless"], "--seamless joins pictures of one"),
    ],
)
def test_wrong_usage_is_told_before_anything_happens(
    capsys: Captured, arguments: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("generate", *arguments)
    assert caught.value.code == 2
    assert fault in told(capsys)


def test_no_server_there(out: Path, capsys: Captured) -> None:
    assert run("generate", "ws://127.0.0.1:1", PROMPT, "--out", out) == 1
    assert "is the server running, is the port right" in told(capsys)


def test_the_http_port_instead(tiny_folder: Path, out: Path, capsys: Captured) -> None:
    with running_server(tiny_folder, http_port=0) as server:
        url = server.http_url.replace("http", "ws")
        assert run("generate", url, PROMPT, "--out", out) == 1
    assert "this is the HTTP port; --port has the WebSocket" in told(capsys)


def test_a_wrong_token(tiny_folder: Path, out: Path, capsys: Captured) -> None:
    with running_server(tiny_folder, tokens=frozenset({"open"})) as server:
        assert run("generate", server.ws_url, PROMPT, "--out", out) == 1
        assert "token" in told(capsys)
        assert run("generate", server.ws_url, PROMPT, "--out", out, "--token", "open") == 0


def test_what_had_arrived_is_saved_when_the_server_breaks(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    model = announced_by(tiny_server)

    async def script(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(accepted(0, revision=model.revision), rows(0, 2), b"garbage")
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("generate", fake.url, PROMPT, "--images", 2, "--out", out, "--json") == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert f"rowcast: the server {fake.url} broke the protocol: not a message" in captured.err
    assert "the rows that had arrived are saved" in captured.err
    answer = json.loads(captured.out)
    assert "not a message" in answer["error"]
    picture = load_rows(out / "image-0.rows")
    assert (picture.rows_held, picture.reason) == (2, None)
    assert names(out) == ["image-0.gif", "image-0.png", "image-0.rows"]


def test_the_mosaic_of_what_had_arrived_is_saved_too(tiny_server: RowcastServer, out: Path) -> None:
    model = announced_by(tiny_server)

    async def script(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(accepted(1, revision=model.revision), rows(0, 2, 1), b"garbage")
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        options = ["--images", 2, "--seamless", "--out", out]
        assert run("generate", fake.url, PROMPT, *options) == 1
    with Image.open(out / "mosaic.png") as image:
        paper = (np.asarray(image) == PAPER).all(2)
    assert paper.shape == (16, 32)
    assert paper[:, :16].all()
    assert not paper[:8, 16:].any()


# Places that cannot be written


def test_a_file_where_the_folder_should_be(
    tiny_server: RowcastServer, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", tmp_path / "file") == 1
    assert told(capsys) == f"rowcast generate: {tmp_path}/file: File exists"


def test_a_place_that_cannot_be_written(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    (out / "image-0.rows").mkdir(parents=True)
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", out, "--overwrite") == 1
    assert told(capsys).splitlines()[-1] == f"rowcast: {out}/image-0.rows: Is a directory"


def test_a_full_disk_keeps_the_rows(tiny_server: RowcastServer, out: Path) -> None:
    """A limit on the size of files, as a disk that is full: the .rows fit, the PNG does not."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "from rowcast.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    # The detokenizer is in the cache already: it must not be what fails.
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", out / "before") == 0
    command = [sys.executable, "-c", code, "generate", tiny_server.ws_url, PROMPT]
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        f"saved {out}/image-0 (.rows)",
        f"rowcast: {out}/image-0.png: File too large",
        "rowcast: the rows that had arrived are saved",
    ]
    assert names(out) == ["before", "image-0.rows"]
    assert load_rows(out / "image-0.rows").complete
