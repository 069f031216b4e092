"""`rowcast grids`: the ids that pictures have, kept however drawing ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rowcast import grids
from rowcast.cli import main
from rowcast.grids import GridFile, read_grids
from rowcast.picture import SAMPLING
from rowcast.rows_file import load_rows
from rowcast.terminal import draw_grids
from rowcast.terminal.options import GridOptions
from rowcast_server.server import RowcastServer

from tests.support.servers import running_server

PROMPTS = ["a red boat", "a blue house", "the moon at night"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS) + "\n", "utf-8")
    return path


def run(*arguments: object) -> int:
    return main(["grids", *map(str, arguments)])


def test_grids_are_those_of_the_pictures(
    tiny_server: RowcastServer, tmp_path: Path, prompts: Path, capsys: Captured
) -> None:
    file, url = tmp_path / "grids.npz", tiny_server.ws_url
    arguments = url, "--prompts", prompts, "--images", 2, "--seed", 5, "--top-k", 7
    assert run(*arguments, "--out", file, "--json") == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["grids"], told["drawn"], told["seed"]) == (6, 6, 5)
    assert f"{file} holds 6 of 6 grids of tiny, seed 5" in captured.err
    origin, found = read_grids(file)
    assert origin.prompts == PROMPTS
    assert origin.sampling["top_k"] == 7
    assert list(found) == list(range(6))
    assert len({grid.tobytes() for grid in found.values()}) == 6
    drawn = tmp_path / "drawn"  # image 1 is picture 1 of the file
    options = "--images", 2, "--seed", 5, "--top-k", 7, "--out", drawn
    assert main(["generate", *map(str, (url, PROMPTS[0], *options))]) == 0
    assert np.array_equal(load_rows(drawn / "image-1.rows").grid, found[1])


def test_one_prompt_will_do_and_the_seed_is_the_files(
    tiny_server: RowcastServer, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "grids.npz"
    arguments = tiny_server.ws_url, PROMPTS[0], "--images", 70, "--out", file, "--json"
    assert run(*arguments) == 0
    first = json.loads(capsys.readouterr().out)
    before = file.read_bytes()
    assert run(*arguments) == 0
    second = json.loads(capsys.readouterr().out)
    assert (first["drawn"], second["drawn"]) == (70, 0)
    assert first["seed"] == second["seed"]
    assert np.array_equal(np.load(file)["ids"].shape, (70, 4, 4))
    assert len(before) == file.stat().st_size


def at_grid(number: int, do: Callable[[], None]) -> Callable[[GridFile, int, grids.Grid], None]:
    """`GridFile.add` that does something once so many are held."""
    add = GridFile.add

    def keep(self: GridFile, picture: int, grid: grids.Grid) -> None:
        add(self, picture, grid)
        if len(self.grids) == number:
            do()

    return keep


def test_ctrl_c_keeps_what_was_drawn_and_the_same_command_goes_on(
    tiny_server: RowcastServer,
    tmp_path: Path,
    prompts: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "grids.npz"
    arguments = tiny_server.ws_url, "--prompts", prompts, "--seed", 5, "--images", 20
    with monkeypatch.context() as patch:
        patch.setattr(draw_grids, "AT_ONCE", 2)
        patch.setattr(GridFile, "add", at_grid(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
        assert run(*arguments, "--out", file, "--json") == 130
    captured = capsys.readouterr()
    assert "stopped; the same command goes on from here" in captured.err
    assert json.loads(captured.out)["error"] == "stopped"
    _, held = read_grids(file)
    assert 3 <= len(held) < 60
    assert run(*arguments, "--out", file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["drawn"] == 60 - len(held)
    assert run(*arguments, "--out", tmp_path / "whole.npz") == 0
    assert np.array_equal(np.load(file)["ids"], np.load(tmp_path / "whole.npz")["ids"])


def test_a_lost_server_keeps_what_was_drawn(
    tiny_folder: Path,
    tmp_path: Path,
    prompts: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "grids.npz"
    monkeypatch.setattr(draw_grids, "AT_ONCE", 2)
    with running_server(tiny_folder, deadline=1e-9) as server:
        arguments = server.ws_url, "--prompts", prompts, "--seed", 5, "--out", file
        assert run(*arguments) == 1
    assert "the same command goes on from here" in capsys.readouterr().err
    assert read_grids(file)[1] == {}


def test_a_busy_server_is_asked_again(
    tiny_folder: Path, tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowcast_server.bridge.BUSY_RETRY_MS", 10)
    with running_server(tiny_folder, slots=1, queue_limit=1) as server:
        file = tmp_path / "grids.npz"
        arguments = server.ws_url, "--prompts", prompts, "--images", 4, "--out", file
        assert run(*arguments) == 0
        assert len(read_grids(file)[1]) == 12
        assert run(*arguments) == 0  # with the file's seed, where none is given
    assert len(read_grids(file)[1]) == 12


@pytest.mark.parametrize(
    ("content", "more", "code", "complaint"),
    [
        (b"\n \n", [], 2, "holds no prompt; write one a line"),
        (b"\xff\xfe", [], 2, "is no text in UTF-8"),
        (b"a boat\n" + b"x" * 10_000, [], 1, "prompts.txt, prompt 2: the prompt has 10000 bytes"),
        (b"a boat", ["--images", "0"], 2, "images must be"),
        (b"a boat", ["--images", "65537"], 2, "images must be"),
        (b"a boat", ["--temperature", "0"], 2, "temperature must be"),
        (b"a boat", ["--model", "other"], 2, "unknown model 'other'"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_nothing_written(
    tiny_server: RowcastServer,
    tmp_path: Path,
    prompts: Path,
    capsys: Captured,
    content: bytes,
    more: list[str],
    code: int,
    complaint: str,
) -> None:
    prompts.write_bytes(content)
    file = tmp_path / "grids.npz"
    assert run(tiny_server.ws_url, "--prompts", prompts, "--out", file, *more) == code
    assert complaint in capsys.readouterr().err
    assert not file.exists()


def test_a_prompt_that_is_refused_is_named_and_the_others_are_drawn(
    tiny_server: RowcastServer, tmp_path: Path, prompts: Path, capsys: Captured
) -> None:
    prompts.write_text("a boat\n家\na house\n", "utf-8")
    words = [tiny_server.ws_url, "--prompts", prompts, "--out", tmp_path / "grids.npz"]
    assert run(*words, "--images", 2, "--json") == 1
    captured = capsys.readouterr()
    refused = f"{prompts}, prompt 2: tiny can read nothing of this prompt"
    assert captured.err.count(f"rowcast: {refused}") == 1
    assert "goes on from here" not in captured.err
    answer = json.loads(captured.out)
    assert answer["grids"] == 4
    assert answer["error"].startswith(refused)
    assert answer["refused"] == [answer["error"]]
    assert sorted(read_grids(tmp_path / "grids.npz")[1]) == [0, 1, 4, 5]


def test_a_file_that_cannot_be_written_is_said_before_drawing(
    tiny_server: RowcastServer, tmp_path: Path, prompts: Path, capsys: Captured
) -> None:
    file = tmp_path / "nowhere" / "grids.npz"
    assert run(tiny_server.ws_url, "--prompts", prompts, "--out", file) == 1
    assert "No such file or directory" in capsys.readouterr().err
    (tmp_path / "other.npz").write_bytes(b"something else")
    assert run(tiny_server.ws_url, "--prompts", prompts, "--out", tmp_path / "other.npz") == 1
    assert "is no file of grids" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a boat", "--prompts", "p.txt", "--out", "g.npz"], "give a prompt, or"),
        (["--out", "g.npz"], "give a prompt, or a file of them with --prompts"),
        (["--prompts", "p.txt"], "the following arguments are required: -o/--out"),
        (["a boat", "--out", "g.npz", "--seamless"], "unrecognized arguments: --seamless"),
        (["a boat", "--out", "g.npz", "--stop-row", "2"], "unrecognized arguments: --stop-row"),
        (["--from", "a.rows", "--out", "g.npz"], "unrecognized arguments: --from"),
    ],
)
def test_wrong_usage_is_code_2(words: list[str], complaint: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["grids", "ws://127.0.0.1:1", *words])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_when_the_minutes_are_over_the_fewest_are_drawn_all_the_same(
    tiny_server: RowcastServer, tmp_path: Path, prompts: Path, capsys: Captured
) -> None:
    file = tmp_path / "grids.npz"
    arguments = tiny_server.ws_url, "--prompts", prompts, "--seed", 5, "--images", 9_000
    assert run(*arguments, "--out", file, "--minutes", 1e-4, "--json") == 0
    _, held = read_grids(file)
    assert 1 <= len(held) < 27_000
    assert json.loads(capsys.readouterr().out)["grids"] == len(held)
    with pytest.raises(SystemExit):
        run(*arguments, "--out", file, "--minutes", "-1")
    assert "a number above 0, not '-1'" in capsys.readouterr().err


def test_what_is_refused_is_no_failure_where_that_is_said(
    tiny_server: RowcastServer, tmp_path: Path, capsys: Captured
) -> None:
    options = GridOptions(
        url=tiny_server.ws_url,
        prompts=["a red boat", "\u4e16\u754c"],
        prompts_file=None,
        images=1,
        model=None,
        seed=5,
        out=tmp_path / "grids.npz",
        json=False,
        lenient=True,
        **dict.fromkeys(SAMPLING),
    )
    assert draw_grids.draw_grids(options) == 0
    assert "prompt 2: " in capsys.readouterr().err
    options.lenient = False
    assert draw_grids.draw_grids(options) == 1
