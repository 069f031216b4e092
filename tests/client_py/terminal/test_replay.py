"""`rowcast replay`, in process: a saved picture painted again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rowcast.picture import UNKNOWN_SAMPLING
from rowcast.rows_file import load_rows, save_rows
from rowcast_server.server import RowcastServer

from tests.support.client.commands import (
    PROMPT,
    Captured,
    run,
    told,
)


@pytest.fixture
def drawn(tiny_server: RowcastServer, out: Path, capsys: Captured) -> Path:
    assert run("generate", tiny_server.ws_url, PROMPT, "--seed", 5, "--out", out) == 0
    capsys.readouterr()
    return out / "image-0.rows"


def test_a_replay_is_the_same_picture(drawn: Path, tmp_path: Path) -> None:
    for kind in ("png", "gif"):
        assert run("replay", drawn, "-o", tmp_path / f"again.{kind}") == 0
        again, first = tmp_path / f"again.{kind}", drawn.with_suffix(f".{kind}")
        assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_a_file_that_is_there_is_replaced_only_on_demand(
    drawn: Path, tmp_path: Path, capsys: Captured, kind: str
) -> None:
    there = tmp_path / f"holiday.{kind}"
    there.write_bytes(b"mine")
    assert run("replay", drawn, "-o", there) == 1
    assert told(capsys) == f"rowcast replay: {there}: it is there already; --overwrite replaces it"
    assert there.read_bytes() == b"mine"
    assert run("replay", drawn, "-o", there, "--overwrite") == 0
    with Image.open(there) as image:
        assert image.size == (16, 16)


def test_a_replay_of_the_first_rows(drawn: Path, tmp_path: Path) -> None:
    assert run("replay", drawn, "--rows", 2, "-o", tmp_path / "part.gif") == 0
    with Image.open(tmp_path / "part.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 2


def test_a_replay_without_a_terminal_says_what_it_is(drawn: Path, capsys: Captured) -> None:
    assert run("replay", drawn) == 0
    assert capsys.readouterr().out.startswith("'a red boat', seed 5, tiny ")
    picture = load_rows(drawn)
    watched = replace(picture.recipe, prompt="", sampling=UNKNOWN_SAMPLING)
    save_rows(replace(picture, recipe=watched), drawn)
    assert run("replay", drawn) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("somebody else's, its prompt not known, seed 5, tiny ")


@pytest.mark.parametrize(
    ("options", "code", "fault"),
    [
        (["--rows", "0"], 2, "--rows must be 1 to 4, not 0"),
        (["--rows", "5"], 2, "--rows must be 1 to 4, not 5"),
        (["-o", "picture.bmp"], 2, "use .png or .gif, not .bmp"),
        (["-o", "picture"], 2, "use .png or .gif, not no suffix"),
        (["-o", "/none/x.png"], 1, "/none/x.png: No such file or directory"),
        (["--detokenizer", "/none/x.onnx"], 1, "no ONNX file"),
    ],
)
def test_a_replay_that_cannot_be(
    drawn: Path, capsys: Captured, options: list[str], code: int, fault: str
) -> None:
    assert run("replay", drawn, *options) == code
    (line,) = told(capsys).splitlines()
    assert fault in line


def test_a_replay_of_what_is_not_there_or_damaged(
    drawn: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run("replay", tmp_path / "none.rows") == 1
    assert told(capsys) == f"rowcast replay: {tmp_path}/none.rows: No such file or directory"
    drawn.write_bytes(drawn.read_bytes()[:-1])
    assert run("replay", drawn) == 1
    assert "checksum is wrong" in told(capsys)


def test_a_replay_needs_its_detokenizer(
    drawn: Path, own_cache: Path, tiny_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    for path in own_cache.iterdir():
        path.unlink()
    assert run("replay", drawn, "-o", tmp_path / "x.png") == 1
    assert "--detokenizer" in told(capsys)
    given = ["--detokenizer", tiny_folder / "detokenizer.onnx"]
    assert run("replay", drawn, "-o", tmp_path / "x.png", *given) == 0
    assert (tmp_path / "x.png").read_bytes() == drawn.with_suffix(".png").read_bytes()
