"""The log on stderr: lines for people, or an object a line for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from rowcast_server.cli import set_up_logs

Captured = pytest.CaptureFixture[str]


@contextmanager
def logging_as(level: int, form: str) -> Iterator[None]:
    """The root logger as in a process of its own; as it was afterwards."""
    root = logging.root
    before, level_before = root.handlers[:], root.level
    root.handlers.clear()
    try:
        set_up_logs(level, form)
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level_before)


def say(level: int = logging.WARNING) -> None:
    log = logging.getLogger("rowcast_server.test")
    log.log(level, 'a "line"\nand %s', "another")
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("it failed")


def test_lines_of_text_say_when_how_grave_who_and_what(capsys: Captured) -> None:
    with logging_as(logging.INFO, "text"):
        say()
    out, err = capsys.readouterr()
    assert out == ""
    assert ' WARNING rowcast_server.test: a "line"\nand another\n' in err
    datetime.strptime(err[:19], "%Y-%m-%d %H:%M:%S")
    assert "ValueError: wrong" in err


def test_json_is_an_object_a_line_whatever_is_said(capsys: Captured) -> None:
    with logging_as(logging.INFO, "json"):
        say()
    out, err = capsys.readouterr()
    assert out == ""
    said, failed = map(json.loads, err.splitlines())
    assert said["level"] == "WARNING"
    assert said["logger"] == "rowcast_server.test"
    assert said["message"] == 'a "line"\nand another'
    assert datetime.fromisoformat(said["time"]).tzinfo is not None
    assert failed["message"] == "it failed"
    assert "ValueError: wrong" in json.dumps(failed)


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_below_the_level_is_not_said(capsys: Captured, form: str) -> None:
    with logging_as(logging.WARNING, form):
        logging.getLogger("rowcast_server.test").info("nothing")
    assert capsys.readouterr().err == ""
