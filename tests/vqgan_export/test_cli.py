"""`rowcast export`: help that teaches, exit codes, sentences instead of tracebacks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from rowcast_export import export as export_module
from rowcast_export import reporting
from rowcast_export.cli import export, name_of
from rowcast_export.errors import ExportError, TooCoarse, VerificationFailed
from rowcast_export.formats import FAMILIES

from tests.vqgan_export.conftest import run_export


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_export("--help") == 0
    text = capsys.readouterr().out
    for word in (
        "rowcast export postcard",
        "detokenizer.onnx",
        "manifest.json",
        "--value-range",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required"),
        (["x"], "-o/--output"),
        (["x", "-o", "y", "--opset", "21"], "invalid choice"),
        (["x", "-o", "y", "--threads", "0"], "at least 1, not 0"),
        (["x", "-o", "y", "--precision", "fp32,fp8"], "unknown precision 'fp8'"),
        (["x", "-o", "y", "--value-range", "1..0"], "from black up to white"),
        (["x", "-o", "y", "--group-norm-epsilon", "2"], "between 0 and 1"),
    ],
)
def test_wrong_usage_is_code_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_export(*arguments) == 2
    assert complaint in capsys.readouterr().err


SHIPPED = Path(__file__).parents[2] / "server/rowcast_server/models/postcard"
FAKE_SERVER = """raise RuntimeError("the exporter must not import the server")"""
RUN = """
import sys
from rowcast_export.cli import export
code = export(sys.argv[1:])
ours = {name for name in sys.modules if name.partition(".")[0].startswith("rowcast")}
exporter = {name for name in ours if name.partition(".")[0] == "rowcast_export"}
others = {"errors", "whole_files", "pixels", "pixels.runtime"}
assert ours - exporter <= {"rowcast", *(f"rowcast.{name}" for name in others)}, ours
sys.exit(code)
"""


def test_what_takes_time_says_so_where_no_terminal_shows_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 1.9, 2.0, 2.0, 61.9, 62.0, 62.0])
    monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with reporting.progress_bar() as show:
        show("tracing", 0, 0)
        show("tracing", 0, 0)
        show("decoding", 3, 14)
        show("decoding", 4, 14)
    assert capsys.readouterr().err == "tracing\ndecoding: 4 of 14\n"


@pytest.mark.timeout(400)  # a process that traces the graph
def test_postcard_is_found_without_importing_the_server_and_gives_the_shipped_bytes(
    tmp_path: Path,
) -> None:
    """Another process, another hash seed, another folder: still the same file."""
    package = tmp_path / "rowcast_server"
    models = package / "models" / "postcard"
    models.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_SERVER)
    shutil.copyfile(SHIPPED / "detokenizer.safetensors", models / "detokenizer.safetensors")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "77"}
    output = tmp_path / "deep" / "out"
    done = subprocess.run(
        [sys.executable, "-c", RUN, "postcard", "-o", str(output), "--threads", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()  # how far it is, after two seconds; no noise of torch's own
    assert all(
        re.match("tracing|writing|checking|decoding|self-test|mixing", line) for line in said
    )
    data = (output / "detokenizer.onnx").read_bytes()
    assert hashlib.sha256(data).hexdigest() in done.stdout
    assert "agrees with torch on 14 grids" in done.stdout
    assert done.stdout.startswith("assumed: norms in 32 groups (as in min-dalle; the file does ")
    assert sorted(os.listdir(output)) == ["detokenizer.onnx", "manifest.json", "palette.npy"]
    entries = json.loads((output / "manifest.json").read_text())["files"]
    assert [entry["file"] for entry in entries] == ["detokenizer.onnx", "palette.npy"]
    shipped = (SHIPPED / "detokenizer.onnx").read_bytes()
    assert without_pixels(data) == without_pixels(shipped)


def without_pixels(data: bytes) -> bytes:
    """The file without the hash of its self-test's pixels, whose last bits are a machine's own."""
    model = onnx.load_model_from_string(data)
    [note] = [note for note in model.metadata_props if note.key == "rowcast.self_test"]
    note.value = json.dumps({**json.loads(note.value), "pixels_sha256": ""})
    return bytes(model.SerializeToString(deterministic=True))


def _fails(
    arguments: list[str], capsys: pytest.CaptureFixture[str], output: Path, code: int = 1
) -> str:
    """Run; the one line on stderr. Nothing may have been written."""
    assert run_export(*arguments, "-o", output) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("rowcast export: ")
    assert not output.exists()
    return captured.err


def test_a_missing_source_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = _fails([str(tmp_path / "nowhere")], capsys, tmp_path / "out")
    assert "nowhere: No such file" in error
    assert "https://a.b/c.pt: No such file" in _fails(
        ["https://a.b/c.pt"], capsys, tmp_path / "out"
    )


def test_a_foreign_source_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    error = _fails([str(tmp_path / "weights.pt")], capsys, tmp_path / "out")
    assert "weights.pt: found a zip archive" in error
    torch.save({"lm_head.weight": torch.zeros(2)}, tmp_path / "weights.pt")
    error = _fails([str(tmp_path / "weights.pt")], capsys, tmp_path / "out")
    assert "weights.pt: no VQGAN decoder of a known family" in error
    assert "lm_head.weight" in error
    for family in FAMILIES:
        assert family.name in error


def test_a_contradiction_is_named(
    checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(checkpoint_file), "--group-norm-epsilon", "1e-5"]
    assert "group_norm_epsilon is 1e-06" in _fails(arguments, capsys, tmp_path / "out")


@pytest.mark.parametrize("words", [["--value-range", "-1..1"], ["--value-range", "-.5..1"]])
def test_black_may_be_negative(
    words: list[str], checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The word is no option, though it begins with a minus."""
    error = _fails([str(checkpoint_file), *words], capsys, tmp_path / "out")
    assert "the checkpoint says that its value_range is 0..1" in error
    assert "leave out --value-range" in error


def test_a_name_that_nobody_gave_is_the_files_own(tmp_path: Path) -> None:
    """A link's, not that of what it leads to: a hub's files lie under their hashes."""
    (tmp_path / "0b33").touch()
    (tmp_path / "vq.pt").symlink_to("0b33")
    (tmp_path / "v1.5").mkdir()
    index = tmp_path / "model.safetensors.index.json"
    found = [name_of(path) for path in (tmp_path / "vq.pt", tmp_path / "v1.5", index)]
    assert found == ["vq", "v1.5", "model"]


@pytest.mark.parametrize(("packaged", "advice"), [(False, "rowcast[server]"), (True, "missing")])
def test_a_missing_postcard_is_explained(
    packaged: bool,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if packaged:
        (tmp_path / "rowcast_server").mkdir()
        (tmp_path / "rowcast_server" / "__init__.py").write_text(FAKE_SERVER)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "rowcast_server", raising=False)
    with pytest.raises(ExportError) as caught:  # without the package no command is found either
        export(["postcard", "-o", str(tmp_path / "out")])
    assert advice in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_explained(
    checkpoint_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    error = _fails([str(checkpoint_file)], capsys, tmp_path / "out")
    assert re.search(r"needs torch: .*pip install '.*\[export\]'", error)


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (VerificationFailed("values differ by 1"), 1, "nothing was written: values differ by 1"),
        (TooCoarse("int8: 31 dB"), 1, "int8: 31 dB, so nothing was written; --force writes it"),
        (OSError(28, "No space left on device", "out/x"), 1, "out/x: No space left on device"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written"),
    ],
)
def test_what_goes_wrong_on_the_way_is_said_in_one_line(
    checkpoint_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(export_module, "to_onnx", fail)
    arguments = [str(checkpoint_file), "--precision", "fp32,int8"]
    error = _fails(arguments, capsys, tmp_path / "out", code)
    assert words in error
    assert error.count("\n") == 1
