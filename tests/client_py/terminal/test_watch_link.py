"""`rowcast generate --share` and `rowcast watch`: pictures that somebody else draws."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from rowcast.rows_file import load_rows
from rowcast.share_link import ShareLink
from rowcast.sync import connect
from rowcast.terminal.options import DrawOptions
from rowcast.terminal.watch_link import watch
from rowcast_server.server import RowcastServer

from tests.support.client.commands import PROMPT, Captured, names, report, run, told
from tests.support.pace import Gate


def shared(server: RowcastServer, out: Path, capsys: Captured, *more: object) -> dict[str, Any]:
    """The report of pictures that were drawn and shared."""
    arguments = ("--share", "--json", "--format", "rows", "--seed", 7, "--out", out, *more)
    assert run("generate", server.ws_url, PROMPT, *arguments) == 0
    return report(capsys)


def test_who_has_the_link_sees_the_same_pictures_late(
    tiny_server: RowcastServer, tmp_path: Path, capsys: Captured
) -> None:
    (link,) = shared(tiny_server, tmp_path / "own", capsys, "--images", 3)["links"]
    assert link.startswith(f"rowcast:{tiny_server.ws_url}#")
    assert link.endswith("/0-2")
    assert PROMPT not in link
    assert watch([link, "--json", "--format", "rows", "--out", str(tmp_path / "seen")]) == 0
    seen = report(capsys)
    assert (seen["images"], "links" in seen) == (3, False)
    for name in names(tmp_path / "own"):
        own, other = load_rows(tmp_path / "own" / name), load_rows(tmp_path / "seen" / name)
        assert (own.ids == other.ids).all()
        assert (own.recipe.prompt, other.recipe.prompt) == (PROMPT, "")


def test_a_picture_that_is_forming_can_be_joined(
    tiny_server: RowcastServer, gate: Gate, tmp_path: Path
) -> None:
    codes: list[int] = []
    with connect(tiny_server.ws_url, decode=False) as owner:
        events = owner.generate(PROMPT, seed=1)
        gate.allow(2)
        picture = next(event.picture for event in events if event.picture.rows_held == 2)
        link = str(ShareLink(owner.url, picture.view_key))
        arguments = [link, "--format", "rows", "--out", str(tmp_path)]
        viewer = threading.Thread(target=lambda: codes.append(watch(arguments)))
        viewer.start()
        gate.open()
        last = [event.picture for event in events][-1]
        viewer.join(60)
    assert codes == [0]
    assert (load_rows(tmp_path / "image-0.rows").ids == last.ids).all()


@pytest.mark.parametrize("text", ["ws://127.0.0.1:8765", "rowcast:ws://h#12/0", ""])
def test_what_is_no_link_is_wrong_usage(text: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit:
        watch([text])
    assert exit.value.code == 2
    assert "--share" in told(capsys)


def test_a_picture_that_is_gone_is_told(
    tiny_server: RowcastServer, tmp_path: Path, capsys: Captured
) -> None:
    link = f"rowcast:{tiny_server.ws_url}#{'00' * 16}/0"
    assert watch([link, "--out", str(tmp_path)]) == 1
    assert "no such picture" in told(capsys)


def test_the_token_of_another_server_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    sent: list[str | None] = []

    def note(options: DrawOptions) -> int:
        sent.append(options.token)
        return 0

    monkeypatch.setattr("rowcast.terminal.watch_link.draw", note)
    link = f"rowcast:wss://other.example/#{'00' * 16}/0"
    monkeypatch.setenv("ROWCAST_TOKEN", "mine")
    monkeypatch.setenv("ROWCAST_URL", "wss://home.example/")
    assert watch([link]) == 0
    monkeypatch.setenv("ROWCAST_URL", "wss://other.example/")
    assert watch([link]) == 0
    assert watch([link, "--token", "theirs"]) == 0
    assert sent == [None, "mine", "theirs"]
    assert "other.example" in capsys.readouterr().err
