"""`rowcast prepare`: a checkpoint becomes a folder that serves light clients, whatever ends it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from rowcast.cli import main
from rowcast.grids import read_grids
from rowcast.pixels.palette import Palette
from rowcast_export.preview.weights import read_preview_weights
from rowcast_export.vqgan import VQGANDecoder
from rowcast_server.models.loading import load
from safetensors import safe_open
from safetensors.torch import save_file

from tests.support.decoders import TINY, lively
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.timeout(600)  # commands of some seconds each, and cores are shared
BRIEF = ("--grids", "16", "--steps", "3", "--threads", "1")
TAUGHT = ("preview.fp16.onnx", "preview.fp16.bin", "preview.int8.bin", "palette.npy")
EXPORTED = ("detokenizer.onnx", "detokenizer.fp16.onnx", "detokenizer.int8.onnx")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a real decoder's checkpoint, and what somebody exported from another."""
    folder = tiny_model(tmp_path_factory.mktemp("source"), codebook_size=TINY.codebook_size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = VQGANDecoder(TINY)
    lively(decoder)
    settings = json.loads((folder / "model.json").read_text())
    settings |= {"pixels_per_token": TINY.pixels_per_token, "examples": ["a red boat"]}
    (folder / "model.json").write_text(json.dumps(settings))
    save_file(decoder.state_dict(), folder / "detokenizer.safetensors", {"name": "tiny"})
    return folder


def command(source: Path, model: Path, *more: str) -> list[str]:
    words = ["prepare", str(source), "-o", str(model), *BRIEF, *more]
    return [sys.executable, "-m", "rowcast", *words]


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was prepared in one go."""
    model = tmp_path_factory.mktemp("prepared") / "model"
    done = subprocess.run(command(source, model), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for number in range(1, 6):
        assert f"[{number}/5] " in done.stderr
    assert "dB from the full decoder, the palette" in done.stderr
    assert f"serve --model {model}" in done.stderr
    assert done.stdout == ""
    return model


def test_the_folder_serves_all_that_a_light_client_paints_with(prepared: Path) -> None:
    model = load(str(prepared))
    assert {(file.kind, file.precision) for file in model.files} == {
        ("full", "fp32"),
        ("full", "fp16"),
        ("full", "int8"),
        ("preview", "fp16"),
        ("preview_weights", "fp16"),
        ("preview_weights", "int8"),
        ("palette", "uint8"),
    }
    entries = json.loads((prepared / "manifest.json").read_text())["files"]
    assert {entry["file"] for entry in entries} == {*EXPORTED, *TAUGHT}
    with Image.open(prepared / "contact-sheet.png") as sheet:
        assert sheet.size == (6 * 12 - 4, 4 * 12 - 4)  # of 8x8 pixels, with gaps
    origin, grids = read_grids(prepared.with_name("model.prepare") / "grids.npz")
    assert len(grids) == 16
    assert origin.prompts[0] == "a red boat"
    with running_server(prepared) as server:
        words = [server.ws_url, "a blue house", "--quality", "preview", "--format", "png"]
        assert main(["generate", *words, "--out", str(prepared.with_name("drawn"))]) == 0
    assert (prepared.with_name("drawn") / "image-0.png").is_file()


def test_the_same_command_does_nothing_again(source: Path, prepared: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    done = subprocess.run(command(source, prepared), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done before") == 4
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before


def check_all_is_whole(model: Path) -> None:
    """No file has a finished name and half of its content."""
    if not model.exists():
        return
    for path in [*model.iterdir(), *model.with_name(f"{model.name}.prepare").iterdir()]:
        if path.name.startswith(".") or path.is_dir():
            continue
        data = path.read_bytes()
        match path.name.partition(".")[0], path.suffix:
            case _, ".onnx":
                onnx.checker.check_model(onnx.load(path))
            case _, ".safetensors":
                with safe_open(path, framework="np") as file:
                    names = file.keys()
                    assert [file.get_tensor(name) for name in names]
            case _, ".json":
                json.loads(data)
            case "palette", _:
                Palette(data, TINY.codebook_size, TINY.pixels_per_token)
            case "preview", ".bin":
                read_preview_weights(data)
            case "grids", _:
                read_grids(path)
            case "contact-sheet", _:
                Image.open(path).load()
            case "merges", _:
                assert data
            case other:
                raise AssertionError(f"an unknown file {other}")
    manifest = model / "manifest.json"
    for entry in json.loads(manifest.read_text())["files"] if manifest.exists() else []:
        digest = hashlib.sha256((model / entry["file"]).read_bytes()).hexdigest()
        assert digest == entry["sha256"]


def kill_when(words: list[str], stage: int, begun: Callable[[], object]) -> None:
    """Start the command and `kill -9` it within a stage, once ``begun()`` there."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith(f"[{stage}/5]"):
                break
        else:
            raise AssertionError("".join(told))
        rest = threading.Thread(target=process.stderr.read, daemon=True)
        rest.start()
        while not begun():
            assert process.poll() is None, f"stage {stage} was over before it could be killed"
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        rest.join(60)


def test_killed_in_every_stage_it_goes_on_and_leaves_nothing_half_written(
    source: Path, prepared: Path, tmp_path: Path
) -> None:
    model, work = tmp_path / "model", tmp_path / "model.prepare"
    words = command(source, model)

    def unfinished(folder: Path, name: str = "") -> Callable[[], object]:
        return lambda: list(folder.glob(f".{name}*.partial"))

    for stage, begun in (
        (1, unfinished(tmp_path, "model.")),
        (2, unfinished(model, "detokenizer")),
        (3, (work / "grids.npz").exists),
        (4, lambda: list(work.glob("training/references-*.bin"))),
        (4, unfinished(model, "preview")),
        (5, lambda: True),
    ):
        kill_when(words, stage, begun)
        check_all_is_whole(model)
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check_all_is_whole(model)
    names = {path.name for path in model.iterdir()}
    assert names == {path.name for path in prepared.iterdir()}  # what was unfinished is gone
    for name in (*EXPORTED, *TAUGHT):
        assert (model / name).read_bytes() == (prepared / name).read_bytes()
    ours, theirs = (
        np.load(each / "grids.npz")["ids"] for each in (work, prepared.with_name("model.prepare"))
    )
    assert np.array_equal(ours, theirs)


def test_ctrl_c_stops_it_and_more_steps_go_on(source: Path, prepared: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for name in ("model", "model.prepare"):
        shutil.copytree(prepared.with_name(name), tmp_path / name)
    words = command(source, model, "--steps", "1000000")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training"):
                break
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130, told
    check_all_is_whole(model)
    before = (model / "preview.fp16.onnx").read_bytes()
    assert before == (prepared / "preview.fp16.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--grids", "7"], "a whole number, at least 8, not '7'"),
        (["--steps", "x"], "a whole number, at least 1, not 'x'"),
        (["--minutes", "0"], "a number above 0, not '0'"),
        (["--minutes", "x"], "a number above 0, not 'x'"),
        (["--precision", "fp16"], "fp32 must be among them: fp32,fp16"),
    ],
)
def test_wrong_words_are_code_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["prepare", "postcard", "-o", "x", *words])
    assert leaving.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_that_is_there_is_left_alone(
    source: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    assert main(["prepare", str(source), "-o", str(tmp_path / "taken")]) == 1
    assert "taken is there already; name another folder, or remove it" in capsys.readouterr().err
    assert main(["prepare", "postcard", "-o", str(prepared)]) == 1
    told = capsys.readouterr().err
    assert f"is there already, made of {source}; name another folder, or remove it and" in told
    assert os.listdir(tmp_path / "taken") == ["file"]


def test_without_a_checkpoint_of_the_decoder_it_says_so(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(source, bare)
    (bare / "detokenizer.safetensors").rename(tmp_path / "vqgan.safetensors")
    words = ["prepare", str(bare), "-o", str(tmp_path / "model"), *BRIEF]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert f"no detokenizer was found in {bare}" in told
    assert "name its checkpoint with --detokenizer" in told
    missing = ["--prompts", str(tmp_path / "none.txt")]
    assert main([*words, *missing]) == 1
    assert "none.txt: No such file" in capsys.readouterr().err
