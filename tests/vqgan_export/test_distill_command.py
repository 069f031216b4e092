"""`rowcast export --distill`: the files it adds, and sentences where it cannot go on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_export.distill.training import CHECKPOINT, Distillation
from rowcast_export.preview.weights import read_preview_weights
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.vqgan import VQGANDecoder
from rowcast_server.models.client_files import read_detokenizer

from tests.support.decoders import TINY
from tests.vqgan_export.conftest import Trace, run_export

Run = Callable[..., int]
WRITTEN = [
    "detokenizer.onnx",
    "manifest.json",
    "palette.npy",
    "preview.fp16.bin",
    "preview.fp16.onnx",
    "preview.int8.bin",
    "preview.onnx",
]


@pytest.fixture(scope="module", autouse=True)
def _quick(tracing_but_once: Trace) -> Any:
    """A small decoder that is smaller still; the full one is not traced each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rowcast_export.export.to_onnx", tracing_but_once)
        patch.setattr("rowcast_export.preview.decoder.WIDTHS", (16, 8))
        patch.setattr("rowcast_export.preview.decoder.BLOCKS", (1, 0))
        yield


@pytest.fixture(scope="module")
def grids_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grids") / "grids.npy"
    np.save(path, np.random.default_rng(0).integers(0, TINY.codebook_size, (40, 4, 4)))
    return path


def run(checkpoint: Path, output: Path, *more: object) -> int:
    words = [checkpoint, "-o", output, "--threads", 1, *more]
    if "--distill" in more:
        words += ["--steps", 3, "--batch", 2]
    return run_export(*words)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_file: Path, grids_file: Path
) -> Path:
    """Where everything has been written; tests must not change it."""
    output = tmp_path_factory.mktemp("distilled") / "out"
    arguments = "--distill", grids_file, "--preview-precision", "fp32,fp16"
    assert run(checkpoint_file, output, *arguments) == 0
    return output


def entries(folder: Path) -> dict[str, Any]:
    return {
        each["file"]: each for each in json.loads((folder / "manifest.json").read_text())["files"]
    }


def test_previews_lie_beside_the_full_decoder(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == WRITTEN
    assert sorted(os.listdir(folder.with_name("out.distill")))[0] == CHECKPOINT
    found = entries(folder)
    assert sorted([*found, "manifest.json"]) == WRITTEN
    full = found["detokenizer.onnx"]["metadata"]
    for name, precision in (("preview.onnx", "fp32"), ("preview.fp16.onnx", "fp16")):
        metadata = found[name]["metadata"]
        model = onnx.load(folder / name)
        assert {each.key: each.value for each in model.metadata_props} == metadata
        assert metadata["rowcast.kind"] == "preview"
        assert metadata["rowcast.precision"] == precision
        differing = {key for key in full if full[key] != metadata[key]}
        assert differing <= {"rowcast.kind", "rowcast.precision", "rowcast.self_test"}
        assert found[name]["agreement"]["imitation"]["grids"] == 2
        assert found[name]["agreement"]["psnr"] > 50


def test_weights_are_those_of_the_graphs(folder: Path) -> None:
    found = entries(folder)
    for precision in ("fp16", "int8"):
        entry = found[f"preview.{precision}.bin"]
        assert entry["metadata"]["rowcast.kind"] == "preview_weights"
        assert entry["metadata"]["rowcast.precision"] == precision
        assert entry["agreement"]["psnr"] > 35
    halves = read_preview_weights((folder / "preview.fp16.bin").read_bytes()).state
    graph = {each.name: each for each in onnx.load(folder / "preview.fp16.onnx").graph.initializer}
    for name, values in halves.items():
        assert np.array_equal(values, onnx.numpy_helper.to_array(graph[name]))


def test_only_operators_that_browsers_have(folder: Path) -> None:
    for name in ("preview.onnx", "preview.fp16.onnx"):
        model = onnx.load(folder / name)
        assert {node.op_type for node in model.graph.node} - {"Cast"} == {
            "Add",
            "Clip",
            "Conv",
            "DepthToSpace",
            "Gather",
            "Relu",
            "Transpose",
        }
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    halves = [t.data_type for t in onnx.load(folder / "preview.fp16.onnx").graph.initializer]
    assert onnx.TensorProto.FLOAT16 in halves


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 16), (2, 16, 1), (3, 5, 7)])
def test_batch_rows_and_columns_are_free(folder: Path, shape: tuple[int, int, int]) -> None:
    """Each picture is what it is alone, and half precision is within a step of single."""
    ids = np.random.default_rng(1).integers(0, TINY.codebook_size, shape)
    whole = OnnxDetokenizer(folder / "preview.onnx", threads=1)
    half = OnnxDetokenizer(folder / "preview.fp16.onnx", threads=1)
    pixels = whole.decode(ids)
    side = TINY.pixels_per_token
    assert pixels.shape == (shape[0], 3, shape[1] * side, shape[2] * side)
    for index in range(shape[0]):
        np.testing.assert_allclose(
            whole.decode(ids[index : index + 1])[0], pixels[index], atol=1e-5
        )
    np.testing.assert_allclose(half.decode(ids), pixels, atol=2e-2)


def test_server_and_client_know_it(folder: Path) -> None:
    found = read_detokenizer(folder / "detokenizer.onnx")
    kinds = {(file.kind, file.precision) for file in found.files}
    assert kinds == {
        ("full", "fp32"),
        ("preview", "fp32"),
        ("preview", "fp16"),
        ("preview_weights", "fp16"),
        ("preview_weights", "int8"),
        ("palette", "uint8"),
    }
    for file in found.files:
        if file.kind == "preview":
            assert Detokenizer(file.path).kind == "preview"  # its self-test has passed


def test_the_same_command_gives_the_same_bytes(
    folder: Path, checkpoint_file: Path, grids_file: Path, tmp_path: Path
) -> None:
    arguments = "--distill", grids_file, "--run", folder.with_name("out.distill")
    assert run(checkpoint_file, tmp_path, *arguments) == 0
    assert (tmp_path / "preview.onnx").read_bytes() == (folder / "preview.onnx").read_bytes()


def test_a_later_export_keeps_the_preview_on_the_list(
    folder: Path,
    checkpoint_file: Path,
    write_checkpoint: Callable[..., Path],
    module: VQGANDecoder,
    tmp_path: Path,
) -> None:
    for name in WRITTEN:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "preview.onnx").write_bytes(b"something else")
    assert run(checkpoint_file, tmp_path) == 0
    assert entries(tmp_path)["preview.fp16.onnx"] == entries(folder)["preview.fp16.onnx"]
    assert "preview.onnx" not in entries(tmp_path)
    bias = module.get_parameter("decoder.conv_out.bias").detach() + 0.1
    other = write_checkpoint(tmp_path / "other.safetensors", decoder__conv_out__bias=bias)
    assert run(other, tmp_path) == 0
    assert sorted(entries(tmp_path)) == ["detokenizer.onnx", "palette.npy"]


def test_a_preview_is_written_beside_what_was_exported_before(
    folder: Path, checkpoint_file: Path, grids_file: Path, tmp_path: Path
) -> None:
    shutil.copyfile(folder / "detokenizer.onnx", tmp_path / "detokenizer.onnx")
    shutil.copyfile(folder / "manifest.json", tmp_path / "manifest.json")
    before = (tmp_path / "detokenizer.onnx").stat().st_mtime_ns
    arguments = "--distill", grids_file, "--run", folder.with_name("out.distill")
    assert run(checkpoint_file, tmp_path, *arguments, "--preview-only") == 0
    assert (tmp_path / "detokenizer.onnx").stat().st_mtime_ns == before
    for name in set(WRITTEN) - {"manifest.json", "preview.fp16.onnx"}:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
        assert entries(tmp_path)[name] == entries(folder)[name]


def test_ctrl_c_keeps_the_training(
    checkpoint_file: Path,
    grids_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = Distillation._take_step

    def press(self: Distillation) -> float:
        loss = take(self)
        if self.schedule.step == 2:
            os.kill(os.getpid(), 2)
        return loss

    monkeypatch.setattr(Distillation, "_take_step", press)
    output = tmp_path / "out"
    assert run(checkpoint_file, output, "--distill", grids_file) == 130
    told = capsys.readouterr().err
    assert "stopped; nothing was written" in told
    assert f"{output}.distill: the same command goes on" in told
    assert not output.exists()
    assert run(checkpoint_file, output, "--distill", grids_file) == 0
    assert "grids held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--device", "nonsense"], "--device nonsense cannot be used"),
        (["--device", "cuda:99"], "--device cuda:99 cannot be used"),
    ],
)
def test_a_device_that_is_not_there_is_named(
    checkpoint_file: Path,
    grids_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    complaint: str,
) -> None:
    assert run(checkpoint_file, tmp_path / "out", "--distill", grids_file, *more) == 1
    assert complaint in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_grids_of_another_model_are_named(
    checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "grids.npy", np.full((10, 4, 4), TINY.codebook_size))
    assert run(checkpoint_file, tmp_path / "out", "--distill", tmp_path / "grids.npy") == 1
    assert "grids.npy holds the id 50, the decoder has 50 codes" in capsys.readouterr().err
    assert run(checkpoint_file, tmp_path / "out", "--distill", tmp_path / "none.npy") == 1
    assert "none.npy: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--steps", "0"], "at least 1, not 0"),
        (["--minutes", "-1"], "more than 0, not -1"),
        (["--learning-rate", "nan"], "more than 0, not nan"),
        (["--preview-precision", "fp8"], "unknown precision 'fp8'"),
        (["--steps", "7"], "--steps goes with --distill"),
        (["--preview-precision", "fp16"], "--preview-precision goes with --distill"),
        (["--preview-only"], "--preview-only goes with --distill"),
    ],
)
def test_wrong_usage_is_code_2(
    more: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_export("x", "-o", "y", *more) == 2
    assert complaint in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_export("--help") == 0
    text = capsys.readouterr().out
    for word in ("--distill GRIDS", "--out grids.npz", "--minutes 30", "preview.onnx"):
        assert word in text
