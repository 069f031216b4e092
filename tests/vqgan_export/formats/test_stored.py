"""Checkpoint files: what is read and when, and what is said about those that cannot be."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.formats import (
    CheckpointError,
    StoredTensor,
    open_checkpoint,
    read_detokenizer,
)
from safetensors.torch import save_file
from torch import Tensor

from tests.support.decoders import (
    State,
    write_chunked_flax,
    write_flax,
    write_old_torch,
    write_safetensors,
    write_torch_zip,
)

Write = Callable[[Path, State], Path]
MAPPED: list[Write] = [write_torch_zip, write_safetensors, write_flax]
WRITERS: list[Write] = [*MAPPED, write_old_torch, write_chunked_flax]


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    stored = open_checkpoint(path).tensors
    return {name.removeprefix("state_dict."): tensor for name, tensor in stored.items()}


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16", "int64", "int32"])
@pytest.mark.parametrize("write", WRITERS)
def test_tensors_come_back_as_they_were_written(write: Write, kind: str, tmp_path: Path) -> None:
    """An odd number of bytes before the second: it lies at no multiple of its size."""
    dtype: torch.dtype = getattr(torch, kind)
    large = (torch.randn(50, 81, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    state = {"x": torch.ones((), dtype=dtype), "deep.down": large, "empty": large[:0].clone()}
    found = tensors_of(write(tmp_path / "x", state))
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].shape == tuple(value.shape)
        assert str(found[name].dtype) == kind
        array = found[name].read()
        assert (array.shape, array.dtype) == (found[name].shape, found[name].dtype)
        assert np.array_equal(array.astype(np.float64), value.double().numpy())


@pytest.mark.parametrize("write", MAPPED)
def test_a_tensor_is_read_from_the_file_when_it_is_used(write: Write, tmp_path: Path) -> None:
    """What is written into the file after it was opened, and even read, is seen."""
    path = write(tmp_path / "x", {"weight": torch.full((1000,), 1234.5)})
    stored = tensors_of(path)["weight"]
    array = stored.read()
    old, new = (np.full(1000, value, np.float32).tobytes() for value in (1234.5, 77))
    at = path.read_bytes().index(old)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)
    assert (array == np.float32(77)).all()
    assert (stored.read() == np.float32(77)).all()


NO_TORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # importing it fails
from rowcast_export.formats import CheckpointError, open_checkpoint
for name in ("safetensors", "flax"):
    print(open_checkpoint(Path(name)).tensors["weight"].read().sum())
for name in ("zip", "old"):
    try:
        open_checkpoint(Path(name))
    except CheckpointError as error:
        print(error)
"""


def test_torch_is_needed_for_its_own_files_alone(tmp_path: Path) -> None:
    state = {"weight": torch.ones(3)}
    write_safetensors(tmp_path / "safetensors", state)
    write_flax(tmp_path / "flax", state)
    write_torch_zip(tmp_path / "zip", state)
    write_old_torch(tmp_path / "old", state)
    run = subprocess.run(
        [sys.executable, "-c", NO_TORCH], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *sums, modern, old = run.stdout.splitlines()
    assert sums == ["3.0", "3.0"]
    assert re.match(
        r"zip is a torch file, and torch is not installed: .*pip install '.*\[torch\]'", modern
    )
    assert old.startswith("old is a torch file")


def test_a_detokenizer_comes_back_as_it_was_written(
    checkpoint_file: Path, tiny_tensors: dict[str, Tensor]
) -> None:
    checkpoint = read_detokenizer(checkpoint_file)
    assert checkpoint.tensors.keys() == tiny_tensors.keys()
    for name, value in tiny_tensors.items():
        assert np.array_equal(checkpoint.tensors[name], value.numpy())
    assert checkpoint.metadata["name"] == "tiny"
    assert checkpoint.sha256 == hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_a_detokenizer_becomes_float32(
    write_checkpoint: Callable[..., Path], tmp_path: Path, stored: torch.dtype
) -> None:
    bias = torch.linspace(-1, 1, 32).to(stored)
    path = write_checkpoint(tmp_path / "x", post_quant_conv__bias=bias)
    found = read_detokenizer(path).tensors["post_quant_conv.bias"]
    assert found.dtype == np.float32
    assert np.array_equal(found, bias.float().numpy())


def test_a_file_is_known_by_its_content_not_its_name(checkpoint_file: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "weights.pt"
    disguised.write_bytes(checkpoint_file.read_bytes())
    assert read_detokenizer(disguised).tensors


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("write", WRITERS)
def test_a_cut_file_is_refused(write: Write, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "weights", {"a.weight": torch.ones(200, 50), "b": torch.ones(9)})
    data = path.read_bytes()
    path.write_bytes(data[: max(20, int(len(data) * share))])
    with pytest.raises(CheckpointError, match=r"weights: .*cut short"):
        open_checkpoint(path)


def test_a_damaged_header_is_refused(checkpoint_file: Path, tmp_path: Path) -> None:
    data = bytearray(checkpoint_file.read_bytes())
    data[20:24] = b"\xff\xfe}{"
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"damaged\.safetensors.*damaged"):
        read_detokenizer(damaged)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (pickle.dumps({"weight": 1}, protocol=2), "pickle that torch did not write"),
        (pickle.dumps({"weight": 1}, protocol=4), "pickle that torch did not write"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX file, which is an export already"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x93NUMPY\x01\x00", "a single numpy array"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"\x01\x02\x03\x04", "begins with 01 02 03 04"),
    ],
)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, found: str) -> None:
    foreign = tmp_path / "weights.safetensors"
    foreign.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\.safetensors: found .*{found}"):
        open_checkpoint(foreign)


def test_tensors_of_something_else_are_refused(tmp_path: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "other")
    with pytest.raises(
        CheckpointError, match=r"found a .* 1 tensors \(lm_head\.weight.*known: min-dalle"
    ):
        read_detokenizer(tmp_path / "other")


def safetensors_of(path: Path, dtype: str, shape: list[int], size: int) -> Path:
    header = json.dumps({"odd": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(size))
    return path


@pytest.mark.parametrize(
    ("dtype", "shape", "size", "says"),
    [
        ("F8_E4M3", [4], 4, "is of type F8_E4M3; save it as float32"),
        ("F32", [1] * 100, 4, "has the shape"),
        ("F32", [0, 2**63], 0, "has the shape"),
        ("F32", [0, 2**62], 0, "has the shape"),
    ],
)
def test_a_tensor_that_numpy_cannot_hold_is_refused_once_it_is_wanted(
    dtype: str, shape: list[int], size: int, says: str, tmp_path: Path
) -> None:
    found = tensors_of(safetensors_of(tmp_path / "x", dtype, shape, size))
    with pytest.raises(CheckpointError, match=rf"x: the tensor odd {says}"):
        found["odd"].read()


def test_a_torch_tensor_that_numpy_cannot_hold_is_refused_once_it_is_wanted(tmp_path: Path) -> None:
    torch.save({"odd": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"x: the tensor odd is of type torch\.complex64"):
        tensors_of(tmp_path / "x")["odd"].read()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    write_checkpoint: Callable[..., Path], tmp_path: Path, poison: float
) -> None:
    path = write_checkpoint(tmp_path / "x", post_quant_conv__bias=torch.full((32,), poison))
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.bias holds NaN or infinity"):
        read_detokenizer(path)


def test_a_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "nowhere")
