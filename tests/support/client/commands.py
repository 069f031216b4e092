"""Commands run in process, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rowcast.cli import main

PROMPT = "a red boat"
Captured = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    """The exit code of `rowcast …`."""
    return main([str(argument) for argument in arguments])


def report(capsys: Captured) -> dict[str, Any]:
    """The one line of JSON on stdout."""
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


def told(capsys: Captured) -> str:
    """What a failing command says, which is no traceback."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.strip()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
