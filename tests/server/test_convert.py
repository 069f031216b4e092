"""`rowcast convert`: the same model as safetensors, in a folder that appears whole or not."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from rowcast.errors import RowcastError
from rowcast_server.convert import convert
from rowcast_server.models.loading import load
from safetensors.torch import save_file

from tests.support.checkpoints import (
    halves,
    write_flax_folder,
    write_min_dalle_folder,
    write_torch,
)
from tests.support.tiny_model import tiny_model, tiny_palette


def test_a_converted_model_is_the_same_model(tmp_path: Path) -> None:
    for write in (
        write_min_dalle_folder,
        lambda folder: write_flax_folder(folder, stacked=True),
        tiny_model,
    ):
        source = write(tmp_path / f"source{len(list(tmp_path.iterdir()))}")
        target = source.with_name(f"{source.name}-converted")
        assert convert([str(source), "-o", str(target)]) == 0
        before, after = load(str(source)), load(str(target))
        assert before.revision == after.revision
        assert (before.name, before.grid, before.sampling) == (
            after.name,
            after.grid,
            after.sampling,
        )
        assert before.files[0].sha256 == after.files[0].sha256


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("fp32", np.float32), ("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)],
)
def test_the_dtype_is_as_chosen(dtype: str, expected: type, tmp_path: Path) -> None:
    source = write_min_dalle_folder(tmp_path / "source")
    convert([str(source), "-o", str(tmp_path / "out"), "--dtype", dtype])
    with safetensors.safe_open(tmp_path / "out/decoder.safetensors", framework="np") as file:
        for name, value in halves()[1].items():
            held = file.get_tensor(name)
            assert held.dtype == expected
            assert np.array_equal(held, value.astype(expected)), name
    assert load(str(tmp_path / "out")).name == "source"


def test_a_detokenizer_to_be_exported_comes_along_without_its_pickle(tmp_path: Path) -> None:
    source = write_min_dalle_folder(tmp_path / "dalle_bart_mini")
    (source / "detokenizer.onnx").unlink()
    (tmp_path / "vqgan").mkdir()
    torch.save({"embedding.weight": torch.ones(96, 4)}, tmp_path / "vqgan/detoker.pt")
    convert([str(source), "-o", str(tmp_path / "out")])
    held = safetensors.numpy.load_file(tmp_path / "out/detokenizer.safetensors")
    assert held["embedding.weight"].shape == (96, 4)
    assert json.loads((tmp_path / "out/model.json").read_text())["name"] == "mini"
    assert not list((tmp_path / "out").glob("*.pt"))


def test_values_that_the_dtype_cannot_hold_are_an_error(tmp_path: Path) -> None:
    source = write_min_dalle_folder(tmp_path / "source")
    encoder = {name: value.astype(np.float32) for name, value in halves()[0].items()}
    encoder["final_ln.bias"][3] = 1e6
    write_torch(source / "encoder.pt", encoder)  # type: ignore[arg-type]
    with pytest.raises(RowcastError, match=r"encoder\.pt: final_ln\.bias has values that float16"):
        convert([str(source), "-o", str(tmp_path / "out"), "--dtype", "fp16"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    source = write_min_dalle_folder(tmp_path / "source")
    out = tmp_path / "out"
    out.mkdir()
    assert convert([str(source), "-o", str(out)]) == 0  # empty: it is filled
    held = sorted(path.stat().st_mtime_ns for path in out.iterdir())
    with pytest.raises(RowcastError, match="there already"):
        convert([str(source), "-o", str(out)])
    assert held == sorted(path.stat().st_mtime_ns for path in out.iterdir())


def test_a_damaged_source_leaves_nothing(tmp_path: Path) -> None:
    source = write_min_dalle_folder(tmp_path / "source")
    (source / "decoder.pt").write_bytes((source / "decoder.pt").read_bytes()[:-500])
    with pytest.raises(RowcastError, match=r"decoder\.pt"):
        convert([str(source), "-o", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_leaves_nothing_under_a_finished_name(tmp_path: Path) -> None:
    """The disk is full after 100 kB: a limit of the process, so that the system itself refuses."""
    source = write_min_dalle_folder(tmp_path / "source")

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    run = subprocess.run(
        [sys.executable, "-m", "rowcast", "convert", str(source), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=full_disk,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert run.returncode == 1
    assert "could not be written (File too large; it needs 0.4 MB)" in run.stderr
    assert run.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("place", ["detokenizer.safetensors", "../vqgan/detoker.pt"])
def test_the_detokenizers_checkpoint_alone_may_be_taken(place: str, tmp_path: Path) -> None:
    """What somebody exported from it, or from another, stays behind."""
    source = tiny_model(tmp_path / "models/source")
    tiny_palette(source / "palette.npy", 96)
    checkpoint = source / place
    checkpoint.parent.mkdir(exist_ok=True)
    state = {"embedding.weight": torch.ones(3, 2)}
    if checkpoint.suffix == ".pt":
        torch.save(state, checkpoint)
    else:
        save_file(state, checkpoint)
    words = [str(source), "-o", str(tmp_path / "out"), "--detokenizer-checkpoint"]
    assert convert(words) == 0
    with safetensors.safe_open(tmp_path / "out/detokenizer.safetensors", framework="np") as file:
        assert np.array_equal(file.get_tensor("embedding.weight"), np.ones((3, 2)))
    assert not [*(tmp_path / "out").glob("*.onnx"), *(tmp_path / "out").glob("*.npy")]
    checkpoint.unlink()
    words[2] = str(tmp_path / "bare")
    assert convert(words) == 0  # and none where there is none
    assert not list((tmp_path / "bare").glob("detokenizer*"))
