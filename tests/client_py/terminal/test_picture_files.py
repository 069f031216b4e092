"""Names of picture files: none is ever overwritten unasked, and what is told is there."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rowcast.codes import DoneReason
from rowcast.messages import Model
from rowcast.picture import Picture
from rowcast.rows_file import load_rows
from rowcast.terminal.exit_codes import raising_terminated
from rowcast.terminal.picture_files import PictureFiles, save_webp
from rowcast.terminal.report import Report
from rowcast_server.server import RowcastServer

from tests.support.client.clients import announced_by
from tests.support.client.commands import PROMPT, Captured, names, report, run, told
from tests.support.fake_server import Peer, accepted, done, fake_server, rows


@pytest.fixture
def picture(tiny_server: RowcastServer, tmp_path: Path, capsys: Captured) -> Picture:
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", tmp_path / "given") == 0
    capsys.readouterr()
    return load_rows(tmp_path / "given/image-0.rows")


def stems(folder: Path) -> list[str]:
    return sorted({path.name.partition(".")[0] for path in folder.iterdir()})


# Numbers


def test_a_second_run_goes_on_where_the_first_ended(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    words = ["generate", tiny_server.ws_url, PROMPT, "--images", 2, "--out", out, "--json"]
    assert run(*words, "--seed", 1) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(*words, "--seed", 2) == 0
    assert stems(out) == ["image-0", "image-1", "image-2", "image-3"]
    assert {name: (out / name).read_bytes() for name in first} == first
    told_last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told_last["files"] == [
        f"{out}/image-{number}.{kind}" for number in (2, 3) for kind in ("png", "gif", "rows")
    ]
    assert load_rows(out / "image-3.rows").recipe.seed == 2


def test_overwrite_begins_anew(tiny_server: RowcastServer, out: Path) -> None:
    words = ["generate", tiny_server.ws_url, "a red boat", "a blue house", "--out", out]
    for seed in (1, 2):
        assert run(*words, "--seed", seed, "--overwrite") == 0
    assert stems(out) == ["image-0", "image-1"]
    assert [load_rows(out / f"image-{n}.rows").recipe.seed for n in (0, 1)] == [2, 2]


@pytest.mark.parametrize(
    ("there", "number"),
    [([], 0), (["image-0.png"], 1), (["image-7.webp"], 8), (["image-x.png", "image-0"], 0)],
)
def test_the_next_number_that_is_free(
    tmp_path: Path, picture: Picture, there: list[str], number: int
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in there:
        (folder / name).write_bytes(b"another's")
    files = PictureFiles(folder, ["rows"])
    files.save([("image", picture)], None)
    assert list(files.files) == [folder / f"image-{number}"]
    assert names(folder) == sorted([*there, f"image-{number}.rows"])
    assert all((folder / name).read_bytes() == b"another's" for name in there)


def test_runs_at_once_share_no_name(tmp_path: Path, picture: Picture) -> None:
    runs = [PictureFiles(tmp_path / "out", ["rows"]) for _ in range(8)]
    runs[0].prepare()
    threads = [threading.Thread(target=one.save, args=([("image", picture)], None)) for one in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told_of = [file for one in runs for files in one.files.values() for file in files]
    assert len(set(told_of)) == 8
    assert sorted(told_of) == [str(path) for path in sorted((tmp_path / "out").iterdir())]


def test_forks_and_mosaics_get_a_number_where_their_name_is_taken(
    tiny_server: RowcastServer, out: Path
) -> None:
    url = tiny_server.ws_url
    assert run("generate", url, PROMPT, "--seed", 5, "--out", out, "--format", "rows") == 0
    fork = ["generate", url, "--from", out / "image-0.rows", "--row", 1, "--seed", 9]
    for _ in range(2):
        assert run(*fork, "--out", out, "--format", "rows") == 0
    mosaic = ["generate", url, PROMPT, "--images", 2, "--seamless", "--format", "png"]
    for _ in range(2):
        assert run(*mosaic, "--out", out) == 0
    assert stems(out) == [
        "image-0",
        "image-0-row-1-seed-9",
        "image-0-row-1-seed-9-1",
        *(f"image-{number}" for number in (1, 2, 3, 4)),
        "mosaic",
        "mosaic-1",
    ]


# Formats


def test_the_formats_that_are_asked_for_and_no_other(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    words = ["generate", tiny_server.ws_url, PROMPT, "--seed", 5, "--out", out]
    assert run(*words, "--format", "webp,PNG", "--json") == 0
    assert report(capsys)["files"] == [f"{out}/image-0.png", f"{out}/image-0.webp"]
    assert names(out) == ["image-0.png", "image-0.webp"]
    with Image.open(out / "image-0.png") as png, Image.open(out / "image-0.webp") as webp:
        assert np.array_equal(np.asarray(png), np.asarray(webp.convert("RGB")))
    assert run(*words, "--format", "rows") == 0
    assert names(out)[2:] == ["image-1.rows"]


def test_a_format_that_there_is_not(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        run("generate", PROMPT, "--format", "png,bmp")
    assert stop.value.code == 2
    assert "no format 'bmp'; choose of png, gif, webp, rows" in told(capsys)


def test_without_a_decoder_the_tokens_are_kept(tmp_path: Path, picture: Picture) -> None:
    files = PictureFiles(tmp_path, ["png"])
    files.save([("image", picture)], None)
    assert files.files == {tmp_path / "image-0": [f"{tmp_path}/image-0.rows"]}
    assert np.array_equal(load_rows(tmp_path / "image-0.rows").grid, picture.grid)


def test_a_picture_that_webp_cannot_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="16383") as caught:
        save_webp(Image.new("RGB", (16_400, 1)), tmp_path / "wide.webp")
    assert caught.value.filename == f"{tmp_path}/wide.webp"
    assert names(tmp_path) == []


# What is said to be saved is there


@pytest.fixture
def announced(tiny_server: RowcastServer) -> Model:
    return announced_by(tiny_server)


def test_ctrl_c_before_the_first_row_saves_nothing_and_says_so(
    announced: Model, out: Path, capsys: Captured
) -> None:

    async def script(peer: Peer) -> None:
        await peer.greet(announced)
        await peer.send(accepted(0, revision=announced.revision))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("generate", fake.url, PROMPT, "--out", out, "--json") == 130
    captured = capsys.readouterr()
    assert "rowcast: nothing was saved: no row had arrived" in captured.err
    assert "saved out" not in captured.err
    answer = json.loads(captured.out)
    assert (answer["files"], answer["error"]) == ([], "stopped")
    [picture] = answer["pictures"]
    assert (picture["files"], picture["error"]) == ([], "stopped")
    assert names(out) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_had_arrived_is_saved_where_the_command_is_stopped(
    announced: Model, out: Path, capsys: Captured, number: signal.Signals
) -> None:

    async def script(peer: Peer) -> None:
        await peer.greet(announced)
        await peer.send(accepted(0, revision=announced.revision), rows(0, 2))
        await asyncio.sleep(0.5)  # the rows are taken
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        await peer.connection.wait_closed()

    before = signal.getsignal(number)
    with fake_server(script) as fake:
        code = run("generate", fake.url, PROMPT, "--out", out, "--json", "--format", "rows")
    assert code == 128 + number
    assert signal.getsignal(number) is before
    assert load_rows(out / "image-0.rows").rows_held == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [f"{out}/image-0.rows"]
    assert answer["error"] == f"stopped by {number.name}"


def test_who_stops_it_once_all_is_saved_is_told_what_is(
    tiny_server: RowcastServer, out: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Report.tell

    def stopped_meanwhile(self: Report, console: Console) -> int:
        signal.raise_signal(signal.SIGINT)
        return tell(self, console)

    monkeypatch.setattr(Report, "tell", stopped_meanwhile)
    words = [PROMPT, "--out", out, "--json", "--format", "rows"]
    assert run("generate", tiny_server.ws_url, *words) == 0
    assert report(capsys)["files"] == [f"{out}/image-0.rows"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with raising_terminated():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (DoneReason.DEADLINE, "the server's time limit for a picture was over"),
        (DoneReason.CANCELLED, "it was cancelled"),
        (DoneReason.LEFT, "the server takes this client for gone"),
        (77, "reason 77"),
    ],
)
def test_a_picture_that_ended_early_is_a_failure_with_a_reason(
    announced: Model, out: Path, capsys: Captured, reason: int, why: str
) -> None:

    async def script(peer: Peer) -> None:
        await peer.greet(announced)
        await peer.send(*(accepted(n, revision=announced.revision) for n in (0, 1)))
        await peer.send(rows(0, 2), done(2, reason=reason), done(0, 1, reason=reason))
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("generate", fake.url, PROMPT, "--images", 2, "--out", out, "--json") == 1
    captured = capsys.readouterr()
    assert f"rowcast: picture 0 ended after 2 of 4 rows: {why}" in captured.err
    assert f"saved {out}/image-0 (.rows, .png, .gif)" in captured.err
    answer = json.loads(captured.out)
    assert answer["error"] == f"picture 0 ended after 2 of 4 rows: {why}"
    assert sorted(answer["files"]) == [f"{out}/{name}" for name in names(out)]
    assert stems(out) == ["image-0"]
