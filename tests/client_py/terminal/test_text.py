"""Text of strangers in a terminal: it stays text, whatever is in it and whoever reads it."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from rowcast.codes import ErrorCode
from rowcast.messages import Error, encode
from rowcast.rows_file import load_rows, save_rows
from rowcast.terminal.text import complain, open_console, plain, say, warnings_shown
from rowcast_server.server import RowcastServer

from tests.support.client.clients import announced_by
from tests.support.client.commands import Captured, run, told
from tests.support.fake_server import Peer, accepted, done, fake_server, rows

ESCAPES = "a \x1b[31mred\x1b]0;title\x07 boat\r\x9b2J \u202egnorw \udcff\u2028end"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a house [/b]", "a house [/b]"),
        ("a [bold]house :cat: http://x", "a [bold]house :cat: http://x"),
        ("ein Häuschen, 家, дом, 👩‍🚀", "ein Häuschen, 家, дом, 👩‍🚀"),
        ("\x1b[31mred\x07\x7f\x9b", r"\x1b[31mred\x07\x7f\x9b"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("\u202eright to left\u2066\udcff\u2028", r"\u202eright to left\u2066\udcff\u2028"),
    ],
)
def test_what_is_more_than_text_is_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("prompt", ["a house [/b]", "a [bold]house", "a :cat: house", ESCAPES])
def test_a_replay_shows_the_prompt_as_it_is(
    tiny_server: RowcastServer, out: Path, capsys: Captured, prompt: str
) -> None:
    assert run("generate", tiny_server.ws_url, "a red boat", "--out", out) == 0
    picture = load_rows(out / "image-0.rows")
    if "\udcff" in prompt:
        prompt = prompt.replace("\udcff", "")  # no file can hold it
    object.__setattr__(picture.recipe, "prompt", prompt)
    save_rows(picture, out / "other.rows")
    capsys.readouterr()
    assert run("replay", out / "other.rows") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{prompt!r}, seed ")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_an_error_of_a_server_is_shown_as_text(out: Path, capsys: Captured) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.receive()
        await peer.connection.close(4403, "\x1b[2J[/b] no")

    with fake_server(refuse) as fake:
        assert run("generate", fake.url, "a red boat", "--out", out, "--json") == 1
    captured = capsys.readouterr()
    assert r"\x1b[2J[/b] no" in captured.err
    assert "\x1b" not in captured.err
    assert captured.out.isascii()


def test_a_word_that_is_no_option_is_shown_as_text(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        run("generate", "a red boat", "--\x1b[31m")
    assert r"unrecognized arguments: --\x1b[31m" in told(capsys)


def test_warnings_of_the_library_are_said_once() -> None:
    console = Console(file=io.StringIO(), width=40)
    logger = logging.getLogger("rowcast.session")
    with warnings_shown(console):
        for _ in range(3):
            logger.warning("the server [/b] is %s", "busy\x07")
        logger.info("not this")
    logger.warning("after it")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "rowcast: the server [/b] is busy\\x07\n"


def test_a_busy_server_is_said_to_be_asked_again(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    model = announced_by(tiny_server)

    async def busy_at_first(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(encode(Error(0, ErrorCode.BUSY, 250, "all places are taken")))
        await peer.receive()
        await peer.send(accepted(revision=model.revision), rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(busy_at_first) as fake:
        assert run("generate", fake.url, "a red boat", "--out", out) == 0
    assert told(capsys).startswith("rowcast: all places are taken; trying again in 0.25 s\n")


class GoneStream(io.StringIO):
    """A stream whose reader has gone, or that cannot be written."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))


UNREAD = [errno.EPIPE, errno.EIO, errno.ENOSPC]  # EIO: of a terminal that was closed


@pytest.mark.parametrize("number", UNREAD)
def test_what_is_said_does_not_end_the_work(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", GoneStream(number))
    complain("to nobody")
    console = open_console()
    say(console, "to nobody")
    say(console, "again")
    assert console.quiet


@pytest.mark.parametrize("number", UNREAD)
def test_pictures_are_saved_where_nobody_reads(
    tiny_server: RowcastServer, out: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", GoneStream(number))
    assert run("generate", tiny_server.ws_url, "a red boat", "--stop-row", 2, "--out", out) == 0
    assert load_rows(out / "image-0.rows").rows_held == 2
