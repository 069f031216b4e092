"""The example that proves that protocol.md is enough."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from rowcast_server.server import RowcastServer

SCRIPT = Path(__file__).parents[2] / "examples/raw_client.py"


def test_it_receives_a_picture(tiny_server: RowcastServer) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), tiny_server.ws_url, "a red house"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [ast.literal_eval(line) for line in run.stdout.splitlines() if line.startswith("(")]
    assert [len(row) for row in rows] == [4] * 4
    assert all(0 <= token < 96 for row in rows for token in row)
    first_rows = [int(row) for row in re.findall(r"row (\d)", run.stdout)]
    assert first_rows[0] == 0  # a frame may hold several rows
    assert first_rows == sorted(set(first_rows))


def test_a_refusal_is_told(tiny_server: RowcastServer) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), tiny_server.ws_url, " "],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "bad_prompt" in run.stderr


def test_wrong_words_and_no_server_are_told_in_a_line() -> None:
    for words, line in (
        ([], 'usage: python raw_client.py ws://127.0.0.1:8765 "a red house at sunset"'),
        (["ws://127.0.0.1:1", "a boat"], "ws://127.0.0.1:1 cannot be reached: "),
    ):
        run = subprocess.run(
            [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 1
        (said,) = run.stderr.splitlines()
        assert said.startswith(line)


def test_it_is_short_and_knows_nothing_of_ours() -> None:
    text = SCRIPT.read_text("utf-8")
    assert len(text.splitlines()) <= 45
    tree = ast.parse(text)
    imported = {
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    imported |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    third_party = imported - {"os", "struct", "sys", "zlib"}
    assert third_party == {"msgpack", "websockets.sync.client"}
