"""`rowcast generate`, in process: what it draws, saves and reports."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rowcast
from PIL import Image
from rich.console import Console
from rowcast.messages import DoneReason, Error, encode
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.palette import Palette
from rowcast.pixels.tiers import Decoder
from rowcast.rows_file import load_rows
from rowcast.terminal import draw_pictures
from rowcast.terminal.install_hints import command_name
from rowcast.terminal.picture_files import PictureFiles
from rowcast_server.server import RowcastServer

from tests.support.client.clients import announced_by
from tests.support.client.commands import (
    PROMPT,
    Captured,
    names,
    report,
    run,
    told,
)
from tests.support.client.easels import FULL, PlainDecoder
from tests.support.fake_server import (
    CODES,
    Peer,
    accepted,
    done,
    fake_server,
    rows,
)
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

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


def test_the_time_of_pictures_is_that_of_drawing_not_of_saving_them(
    tiny_server: RowcastServer, out: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        monkeypatch.setattr(time, "perf_counter", lambda: clock() + 3600)

    clock = time.perf_counter
    monkeypatch.setattr(PictureFiles, "save", save)
    assert run("generate", tiny_server.ws_url, PROMPT, "--out", out, "--json") == 0
    assert 0 < report(capsys)["total_s"] < 3600


def test_several_pictures_have_files_of_their_own(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, PROMPT, "--images", 3, "-o", out, "--json") == 0
    answer = report(capsys)
    assert len(answer["files"]) == 9
    pictures = [load_rows(out / f"image-{index}.rows") for index in range(3)]
    assert [picture.recipe.image for picture in pictures] == [0, 1, 2]
    assert {picture.recipe.seed for picture in pictures} == {answer["seed"]}


def test_a_pictures_png_and_gif_come_of_one_decode(
    tiny_server: RowcastServer, out: Path, tmp_path: Path
) -> None:
    assert run("generate", tiny_server.ws_url, PROMPT, "--stop-row", 3, "--out", out) == 0
    picture, decoder = load_rows(out / "image-0.rows"), PlainDecoder(FULL)
    files = PictureFiles(tmp_path)
    files.save([("again", picture)], decoder)
    assert files.files[tmp_path / "again"] == [
        f"{tmp_path}/again.{kind}" for kind in ("png", "gif", "rows")
    ]
    assert decoder.painted == [3]


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
    words = [PROMPT, "--images", 2, "--seed", 5, "--stop-row", 2, "--out", out]
    assert run("generate", url, *words) == 0
    again = f"--from {out}/image-0.rows {out}/image-1.rows"
    said = capsys.readouterr().err
    assert f"stopped early; go on with: {command_name()} generate {url} {again}\n" in said
    stopped = load_rows(out / "image-0.rows")
    assert (stopped.rows_held, stopped.reason) == (2, DoneReason.STOP_ROW)
    assert run("generate", url, "--from", out / "image-0.rows", "--out", out, "--json") == 0
    answer = report(capsys)
    assert answer["files"][-1] == f"{out}/image-0-row-2-seed-5.rows"
    finished = load_rows(Path(answer["files"][-1]))
    assert np.array_equal(finished.grid, load_rows(out / "whole" / "image-0.rows").grid)
    assert answer["row_s"] is None or answer["row_s"] < answer["total_s"]


def test_the_caption_counts_the_rows_that_were_asked_for(
    tiny_server: RowcastServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions: list[str] = []

    @contextmanager
    def painting(_: Console) -> Iterator[Callable[[Mapping[int, Image.Image], str], None]]:
        yield lambda images, caption: captions.append(caption)

    monkeypatch.setattr(draw_pictures, "painting", painting)
    words = [PROMPT, "--images", 2, "--stop-row", 3, "--out", out]
    assert run("generate", tiny_server.ws_url, *words) == 0
    assert captions[-1].startswith("row 6 of 6, ")


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


def test_a_prompt_that_the_model_reads_in_part_or_not_at_all(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    assert run("generate", tiny_server.ws_url, "a red house 海边", "--out", out) == 0
    assert "the model cannot read 2 characters of the prompt: not used" in capsys.readouterr().err
    assert run("generate", tiny_server.ws_url, "海边的红房子", "--out", out) == 1
    assert "tiny can read nothing of this prompt: it reads English" in capsys.readouterr().err


def test_a_picture_is_drawn_step_by_step(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    url, saving = tiny_server.ws_url, ["--out", out, "--format", "rows", "--json"]
    assert run("generate", url, PROMPT, "--seed", 5, "--stop-row", 1, *saving) == 0
    assert run("generate", url, "--from", out / "image-0.rows", "--stop-row", 3, *saving) == 0
    step = out / "image-0-row-1-seed-5.rows"
    assert (load_rows(step).rows_held, load_rows(step).reason) == (3, DoneReason.STOP_ROW)
    capsys.readouterr()
    assert run("generate", url, "--from", step, "--stop-row", 3, *saving) == 2
    assert f"{step}: --stop-row must be a whole number from 4 to 4" in told(capsys)


def test_one_picture_that_fails_is_told_and_the_others_are_saved(
    tiny_server: RowcastServer, out: Path, capsys: Captured
) -> None:
    model = announced_by(tiny_server)

    async def script(peer: Peer) -> None:
        await peer.greet(model)
        await peer.send(*(accepted(stream, revision=model.revision) for stream in range(3)))
        failed = (encode(Error(stream, "internal", 0, "broken")) for stream in (0, 1))
        await peer.send(rows(0, 2, 1), *failed, rows(0, 4, 2), done(stream=2))
        await peer.connection.wait_closed()

    with fake_server(script) as fake:
        assert run("generate", fake.url, PROMPT, "--images", 3, "--out", out, "--json") == 1
    captured = capsys.readouterr()
    assert "rowcast: picture 0: broken [internal]\nrowcast: picture 1: broken" in captured.err
    answer = json.loads(captured.out)
    assert [(each["rows"], each.get("error")) for each in answer["pictures"]] == [
        (0, "picture 0: broken [internal]"),
        (2, "picture 1: broken [internal]"),
        (4, None),
    ]
    assert {name.split(".")[0] for name in names(out)} == {"image-1", "image-2"}
    assert load_rows(out / "image-2.rows").complete


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
