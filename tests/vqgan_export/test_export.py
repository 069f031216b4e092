"""The exported file: free shapes, plain operators, the same bytes each time, or no file at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rowcast_export import export as export_module
from rowcast_export.errors import TooCoarse, VerificationFailed
from rowcast_export.export import export_detokenizer
from rowcast_export.formats import Checkpoint, CheckpointError, read_detokenizer
from rowcast_export.manifest import Exported
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.settings import PRECISIONS, Settings
from rowcast_export.verify import TOLERANCES
from rowcast_export.vqgan import VQGANDecoder

from tests.vqgan_export.conftest import Trace

FILES = ["detokenizer.onnx", "manifest.json", "palette.npy"]
SETTINGS = Settings("tiny", 1e-6, (0.0, 1.0))


@pytest.fixture
def checkpoint(checkpoint_file: Path) -> Checkpoint:
    return read_detokenizer(checkpoint_file)


# With one channel in a group, as here, grids below four tokens amplify rounding a thousandfold: the
# group norm divides two nearly equal values by their difference. So the smallest grid is 2x2.
@pytest.mark.parametrize(
    "shape", [(1, 2, 2), (1, 1, 16), (1, 16, 1), (1, 3, 5), (3, 2, 7), (1, 16, 16), (2, 24, 24)]
)
def test_batch_rows_and_columns_are_free(
    exported: Exported, module: VQGANDecoder, shape: tuple[int, int, int]
) -> None:
    ids = np.random.default_rng(7).integers(0, 50, shape)
    pixels = OnnxDetokenizer(exported.path, threads=1).decode(ids)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(ids)).numpy()
    assert pixels.dtype == np.float32
    assert pixels.shape == (shape[0], 3, 2 * shape[1], 2 * shape[2])
    np.testing.assert_allclose(pixels, wanted, atol=1e-4)
    assert wanted.std() > 0.05  # or the comparison would say nothing


def test_only_plain_operators_and_instance_norms(exported: Exported) -> None:
    model = onnx.load(exported.path)
    operators = {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} == {""}
    assert "InstanceNormalization" in operators
    assert not operators & {"GroupNormalization", "LayerNormalization", "Loop", "If"}
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
    assert model.ir_version == 8


def test_the_file_does_not_tell_who_made_it(exported: Exported) -> None:
    data = exported.path.read_bytes()
    places = [str(place).encode() for place in (Path.cwd(), Path(torch.__file__).parent)]
    for trace in (b"pytorch", b"torch.", b".py", b"stack_trace", *places):
        assert trace not in _without_weights(data), trace


def _without_weights(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


def test_metadata_says_what_clients_need(exported: Exported, checkpoint_file: Path) -> None:
    found = OnnxDetokenizer(exported.path, threads=1).metadata
    assert found == exported.metadata
    del found["rowcast.self_test"]
    assert found == {
        "rowcast.format": "1",
        "rowcast.kind": "full",
        "rowcast.precision": "fp32",
        "rowcast.model": "tiny",
        "rowcast.codebook_size": "50",
        "rowcast.pixels_per_token": "2",
        "rowcast.value_range": "0..1",
        "rowcast.source_sha256": hashlib.sha256(checkpoint_file.read_bytes()).hexdigest(),
        "rowcast.opset": "18",
    }


def test_the_manifest_describes_the_file(exported: Exported) -> None:
    manifest = json.loads((exported.path.parent / "manifest.json").read_text())
    [entry, palette] = manifest["files"]
    data = exported.path.read_bytes()
    assert entry["file"] == "detokenizer.onnx"
    assert entry["bytes"] == len(data)
    assert entry["sha256"] == hashlib.sha256(data).hexdigest() == exported.sha256
    assert entry["metadata"] == exported.metadata
    assert entry["agreement"]["value_difference"] < 1e-4
    data = (exported.path.parent / "palette.npy").read_bytes()
    assert (palette["file"], palette["bytes"]) == ("palette.npy", len(data))
    assert palette["sha256"] == hashlib.sha256(data).hexdigest()
    assert palette["metadata"]["rowcast.kind"] == "palette"
    assert sorted(os.listdir(exported.path.parent)) == FILES


@pytest.mark.timeout(400)
def test_another_opset_and_another_range(checkpoint: Checkpoint, tmp_path: Path) -> None:
    settings = Settings("tiny", 1e-5, (-1.0, 1.0))
    [result, _] = export_detokenizer(checkpoint, tmp_path, settings, opset=17, threads=1)
    assert result.metadata["rowcast.opset"] == "17"
    assert result.metadata["rowcast.value_range"] == "0..1"


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch, tracing_but_once: Trace) -> None:
    """Skip the tracing, which takes seconds."""
    monkeypatch.setattr(export_module, "to_onnx", tracing_but_once)


@pytest.mark.usefixtures("_known")
def test_all_precisions_come_together_or_not_at_all(
    checkpoint: Checkpoint, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = export_detokenizer(
        checkpoint, tmp_path / "out", SETTINGS, threads=1, precisions=PRECISIONS
    )
    assert [file.path.name for file in files] == [
        "detokenizer.onnx",
        "detokenizer.fp16.onnx",
        "detokenizer.int8.onnx",
        "palette.npy",
    ]
    assert files[0].sha256 == exported.sha256  # whatever stands beside it
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for entry, file in zip(manifest["files"], files, strict=True):
        data = file.path.read_bytes()
        assert entry["sha256"] == file.sha256 == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
    kinds = [entry["metadata"]["rowcast.precision"] for entry in manifest["files"]]
    assert kinds == [*PRECISIONS, "uint8"]
    assert 35 <= manifest["files"][2]["agreement"]["psnr"] < 100

    strict = {**TOLERANCES, "int8": dataclasses.replace(TOLERANCES["int8"], psnr=100.0)}
    monkeypatch.setattr(export_module, "TOLERANCES", strict)
    again = tmp_path / "again"
    with pytest.raises(TooCoarse, match=r"int8: .* 100 are wanted"):
        export_detokenizer(checkpoint, again, SETTINGS, threads=1, precisions=PRECISIONS)
    assert not again.exists()
    forced = export_detokenizer(
        checkpoint, again, SETTINGS, threads=1, precisions=("int8",), force=True
    )
    assert forced[0].sha256 == files[2].sha256
    assert sorted(os.listdir(again)) == ["detokenizer.int8.onnx", "manifest.json", "palette.npy"]


@pytest.mark.usefixtures("_known")
def test_a_file_that_disagrees_is_never_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The graph was made with another epsilon: a picture that is only slightly wrong."""
    other = dataclasses.replace(SETTINGS, group_norm_epsilon=0.1)
    with pytest.raises(VerificationFailed, match="values differ by"):
        export_detokenizer(checkpoint, tmp_path / "new", other, threads=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("_known")
def test_ctrl_c_leaves_nothing_behind(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "detokenizer.onnx").write_text("old")
    seen: list[list[str]] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append(os.listdir(tmp_path))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_detokenizer(checkpoint, tmp_path, SETTINGS, threads=1, on_progress=interrupt)
    assert any(len(names) == 2 for names in seen)  # the temporary file lay beside the target
    assert os.listdir(tmp_path) == ["detokenizer.onnx"]
    assert (tmp_path / "detokenizer.onnx").read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from rowcast.whole_files import whole_files
with whole_files([Path(each) for each in sys.argv[1:]]) as partials:
    for partial in partials:
        partial.write_bytes(bytes(1_000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("_known")
def test_what_killed_exports_left_goes_with_the_next(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    targets = [tmp_path / name for name in FILES]
    for _ in range(4):
        killed = subprocess.run([sys.executable, "-c", KILLED, *targets], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) >= len(FILES)
    export_detokenizer(checkpoint, tmp_path, SETTINGS, threads=1)
    assert sorted(os.listdir(tmp_path)) == FILES


@pytest.mark.usefixtures("_known")
def test_a_full_disk_leaves_nothing_behind(
    checkpoint: Checkpoint, exported: Exported, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (exported.bytes // 2, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            export_detokenizer(checkpoint, tmp_path, SETTINGS, threads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_tensors_that_make_no_decoder_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    missing = dict(checkpoint.tensors)
    del missing["decoder.up.0.block.0.conv1.weight"]
    with pytest.raises(CheckpointError, match=r"decoder\.up\.0\.block\.0\.conv1\.weight"):
        export_detokenizer(dataclasses.replace(checkpoint, tensors=missing), tmp_path, SETTINGS)
    unknown = {**checkpoint.tensors, "decoder.extra": np.zeros(1, np.float32)}
    with pytest.raises(CheckpointError, match=r"decoder\.extra"):
        export_detokenizer(dataclasses.replace(checkpoint, tensors=unknown), tmp_path, SETTINGS)
    assert os.listdir(tmp_path) == []
