"""`rowcast generate` and `rowcast replay`, in process: what they save, say and answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rowcast
from PIL import Image
from rowcast.cli import main
from rowcast.messages import DoneReason
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.detokenizer import PAPER
from rowcast.pixels.palette import Palette
from rowcast.pixels.tiers import Decoder
from rowcast.rows_file import load_rows
from rowcast_server.server import RowcastServer

from tests.support.fake_server import CODES, Peer, accepted, fake_server, rows, welcome
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

PROMPT = "a red boat"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


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


# Drawing


def test_a_picture_is_drawn_saved_and_reported(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, PROMPT, "--seed", 5, "--out", out, "--json") == 0
    answer = report(capsys)
    assert answer["seed"] == 5
    assert answer["images"] == 1
    assert answer["bytes_received"] > 4 * 14
    assert 0 < answer["first_row_s"] <= answer["total_s"]
    assert answer["files"] == [f"{out}/image-0.{kind}" for kind in ("png", "gif", "rows")]
    assert "error" not in answer
    assert names(out) == ["image-0.gif", "image-0.png", "image-0.rows"]
    picture = load_rows(out / "image-0.rows")
    assert (picture.recipe.prompt, picture.recipe.seed) == (PROMPT, 5)
    assert picture.reason is DoneReason.COMPLETE
    with Image.open(out / "image-0.png") as image:
        assert (image.size, image.info["seed"]) == ((16, 16), "5")


def test_several_pictures_have_files_of_their_own(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, PROMPT, "--images", 3, "--out", out, "--json") == 0
    answer = report(capsys)
    assert len(answer["files"]) == 9
    pictures = [load_rows(out / f"image-{index}.rows") for index in range(3)]
    assert [picture.recipe.image for picture in pictures] == [0, 1, 2]
    assert {picture.recipe.seed for picture in pictures} == {answer["seed"]}


def test_without_json_stdout_is_left_alone(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, PROMPT, "--seed", 5, "--out", out) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "seed 5 · " in captured.err
    assert f"saved {out}/image-0 (.rows, .png, .gif)" in captured.err


def test_options_reach_the_server(tiny_server: RowcastServer, out: Path) -> None:
    options = ["--temperature", 0.5, "--top-k", 7, "--top-p", 0.75, "--guidance", 2]
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", out, *options) == 0
    sampling = load_rows(out / "image-0.rows").recipe.sampling
    assert (sampling.temperature, sampling.top_k) == (0.5, 7)
    assert (sampling.top_p, sampling.guidance) == (0.75, 2.0)


def test_a_picture_stopped_early_is_finished_later(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    url = tiny_server.ws_url
    assert run("generate", url, PROMPT, "--seed", 5, "--out", out / "whole") == 0
    assert run("generate", url, PROMPT, "--seed", 5, "--stop-row", 2, "--out", out) == 0
    assert f"go on with: rowcast generate URL --from {out}/image-0.rows" in capsys.readouterr().err
    stopped = load_rows(out / "image-0.rows")
    assert (stopped.rows_held, stopped.reason) == (2, DoneReason.STOP_ROW)
    assert run("generate", url, "--from", out / "image-0.rows", "--out", out, "--json") == 0
    answer = report(capsys)
    assert answer["files"][-1] == f"{out}/image-0-row-2-seed-5.rows"
    finished = load_rows(Path(answer["files"][-1]))
    assert np.array_equal(finished.grid, load_rows(out / "whole" / "image-0.rows").grid)
    assert answer["row_s"] is None or answer["row_s"] < answer["total_s"]


def test_a_fork_by_another_seed_leaves_its_source_alone(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    url, source = tiny_server.ws_url, out / "image-0.rows"
    assert run("generate", url, PROMPT, "--seed", 5, "--out", out) == 0
    before = source.read_bytes()
    capsys.readouterr()
    fork = ["--from", source, "--row", 1, "--seed", 9, "--out", out, "--json"]
    assert run("generate", url, *fork) == 0
    answer = report(capsys)
    assert answer["seed"] == 9
    forked = load_rows(out / "image-0-row-1-seed-9.rows")
    assert np.array_equal(forked.grid[0], load_rows(source).grid[0])
    assert not np.array_equal(forked.grid, load_rows(source).grid)
    assert source.read_bytes() == before


def test_a_seamless_mosaic_is_saved_beside_the_same_files(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    command = ["generate", tiny_server.ws_url, PROMPT, "--seed", 5, "--images", 4]
    assert run(*command, "--out", out / "apart") == 0
    capsys.readouterr()
    assert run(*command, "--out", out / "joined", "--seamless", "--json") == 0
    answer = report(capsys)
    mosaic = ["mosaic.gif", "mosaic.png"]
    assert names(out / "joined") == sorted([*names(out / "apart"), *mosaic])
    assert sorted(answer["files"][-2:]) == [f"{out}/joined/{name}" for name in mosaic]
    for name in names(out / "apart"):
        assert (out / "apart" / name).read_bytes() == (out / "joined" / name).read_bytes()
    pictures = [load_rows(out / "joined" / f"image-{index}.rows") for index in range(4)]
    detokenizer = rowcast.Detokenizer(cached_path(pictures[0].recipe.detokenizer_sha256 or b""))
    with Image.open(out / "joined/mosaic.png") as image:
        whole = rowcast.Mosaic.of(pictures).paint(detokenizer)
        assert np.array_equal(np.asarray(image), np.asarray(whole))
        assert (image.info["mosaic"], image.info["seed"]) == ("2 x 2", "5")
    with Image.open(out / "joined/mosaic.gif") as gif:
        assert (gif.size, getattr(gif, "n_frames", 1)) == ((32, 32), 4)


def test_a_prompt_that_the_model_cannot_read_to_its_end(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, "a red house " * 60, "--out", out) == 0
    assert "the prompt is too long: its last " in capsys.readouterr().err


# Drawing that fails


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([""], "the prompt is empty"),
        (["x" * 10_000], "10000 bytes"),
        (["a \udcff boat"], "no valid text"),
        ([PROMPT, "--images", "0"], "images must be"),
        ([PROMPT, "--images", "1000"], "images must be"),
        ([PROMPT, "--temperature", "0"], "temperature must be from 0.01 to 10, not 0.0"),
        ([PROMPT, "--temperature", "nan"], "temperature must be"),
        ([PROMPT, "--temperature", "inf"], "temperature must be"),
        ([PROMPT, "--model", "other"], "unknown model 'other'; the server has tiny"),
        ([PROMPT, "--seed", "-1"], "seed must be"),
        ([PROMPT, "--seed", "4294967296"], "seed must be"),
        ([PROMPT, "--stop-row", "0"], "stop_row must be"),
        ([PROMPT, "--stop-row", "17"], "stop_row must be"),
    ],
)
def test_a_request_that_cannot_be(
    tiny_server: RowcastServer, out: Path, capsys: Captured, options: list[str], fault: str
) -> None:
    assert run("generate", tiny_server.ws_url, *options, "--out", out) == 1
    (line,) = told(capsys).splitlines()
    assert line.startswith("rowcast generate: ")
    assert fault in line
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
        (["ws://h:1", "--from", "x.rows", "--stop-row", "2"], "--stop-row does not go with"),
        (["ws://h:1", "--from", "x.rows", "--top-p", "0.5"], "--top-p does not go with --from"),
        (["ws://h:1", "--from", "x.rows", "--seamless"], "--seamless joins several pictures"),
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


def test_the_http_port_instead(tiny_server: RowcastServer, out: Path, capsys: Captured) -> None:
    url = tiny_server.http_url.replace("http", "ws")
    assert run("generate", url, PROMPT, "--out", out) == 1
    assert "is this the http port" in told(capsys)


def test_a_wrong_token(tiny_folder: Path, out: Path, capsys: Captured) -> None:
    with running_server(tiny_folder, tokens=frozenset({"open"})) as server:
        assert run("generate", server.ws_url, PROMPT, "--out", out) == 1
        assert "token" in told(capsys)
        assert run("generate", server.ws_url, PROMPT, "--out", out, "--token", "open") == 0


def test_what_had_arrived_is_saved_when_the_server_breaks(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        model = client.session.model()

    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(model))
        await peer.receive()
        await peer.send(accepted(0, revision=model.revision), rows(0, 2), b"garbage")
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("generate", fake.url, PROMPT, "--images", 2, "--out", out, "--json") == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "rowcast: not a message" in captured.err
    assert "the rows that had arrived are saved" in captured.err
    answer = json.loads(captured.out)
    assert "not a message" in answer["error"]
    picture = load_rows(out / "image-0.rows")
    assert (picture.rows_held, picture.reason) == (2, None)
    assert names(out) == ["image-0.gif", "image-0.png", "image-0.rows"]


def test_the_mosaic_of_what_had_arrived_is_saved_too(tiny_server: RowcastServer, out: Path) -> None:
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        model = client.session.model()

    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(welcome(model))
        await peer.receive()
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
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", out) == 1
    assert told(capsys) == f"rowcast generate: {out}/image-0.rows: Is a directory"


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
    assert done.stderr.strip() == f"rowcast generate: {out}/image-0.png: File too large"
    assert names(out) == ["before", "image-0.rows"]
    assert load_rows(out / "image-0.rows").complete


# Quality


@pytest.mark.parametrize(
    ("quality", "painted_by"),
    [
        ("palette", "palette uint8"),
        ("preview", "preview fp32 on cpu"),
        ("full", "full fp32 on cpu"),
    ],
)
def test_pictures_are_saved_in_the_quality_that_is_asked_for(
    tiny_folder: Path, tmp_path: Path, out: Path, capsys: Captured, quality: str, painted_by: str
) -> None:
    folder = tmp_path / "tiers"
    shutil.copytree(tiny_folder, folder)
    tiny_palette(folder / "palette.npy", CODES)
    tiny_detokenizer(folder / "preview.onnx", CODES, **{"rowcast.kind": "preview"})
    with running_server(folder) as server:
        options = ["--quality", quality, "--seed", 5, "--out", out, "--json"]
        assert run("generate", server.ws_url, PROMPT, *options) == 0
    answer = report(capsys)
    assert answer["painted_by"] == painted_by
    assert names(out) == ["image-0.gif", "image-0.png", "image-0.rows"]
    picture = load_rows(out / "image-0.rows")
    decoder: Decoder = rowcast.Detokenizer(folder / "detokenizer.onnx")
    if quality == "palette":
        decoder = Palette((folder / "palette.npy").read_bytes(), CODES, 4)
    with Image.open(out / "image-0.png") as image:
        assert np.array_equal(np.asarray(image), decoder.decode(picture.grid[None])[0])


def test_a_quality_that_there_is_not(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        run("generate", "ws://h:1", PROMPT, "--quality", "best")
    assert "invalid choice: 'best'" in told(capsys)


# Replay


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


def test_a_replay_of_the_first_rows(drawn: Path, tmp_path: Path) -> None:
    assert run("replay", drawn, "--rows", 2, "-o", tmp_path / "part.gif") == 0
    with Image.open(tmp_path / "part.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 2


def test_a_replay_without_a_terminal_says_what_it_is(drawn: Path, capsys: Captured) -> None:
    assert run("replay", drawn) == 0
    assert capsys.readouterr().out.startswith("'a red boat', seed 5, tiny ")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--rows", "0"], "--rows must be 1 to 4, not 0"),
        (["--rows", "5"], "--rows must be 1 to 4, not 5"),
        (["-o", "picture.bmp"], "use .png or .gif, not .bmp"),
        (["-o", "picture"], "use .png or .gif, not no suffix"),
        (["-o", "/none/x.png"], "/none/x.png: No such file or directory"),
        (["--detokenizer", "/none/x.onnx"], "no ONNX file"),
    ],
)
def test_a_replay_that_cannot_be(
    drawn: Path, capsys: Captured, options: list[str], fault: str
) -> None:
    assert run("replay", drawn, *options) == 1
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
