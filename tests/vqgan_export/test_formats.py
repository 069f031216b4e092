"""Checkpoint files: what is read, and what is said about those that cannot be."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rowcast_export.formats import CheckpointError, read_checkpoint, read_detokenizer
from safetensors.torch import save_file
from torch import Tensor


def test_a_detokenizer_comes_back_as_it_was_written(
    checkpoint_file: Path, tiny_tensors: dict[str, Tensor]
) -> None:
    checkpoint = read_detokenizer(checkpoint_file)
    assert checkpoint.tensors.keys() == tiny_tensors.keys()
    for name, value in tiny_tensors.items():
        assert torch.equal(checkpoint.tensors[name], value)
    assert checkpoint.metadata["name"] == "tiny"
    assert checkpoint.sha256 == hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_tensors_become_float32(tmp_path: Path, stored: torch.dtype) -> None:
    save_file({"half": torch.ones(3, dtype=stored), "count": torch.ones(1).long()}, tmp_path / "x")
    tensors = read_checkpoint(tmp_path / "x").tensors
    assert tensors["half"].dtype == torch.float32
    assert tensors["count"].dtype == torch.int64


def test_a_file_is_known_by_its_content_not_its_name(checkpoint_file: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "weights.pt"
    disguised.write_bytes(checkpoint_file.read_bytes())
    assert read_detokenizer(disguised).tensors


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_cut_file_is_refused(checkpoint_file: Path, tmp_path: Path, share: float) -> None:
    data = checkpoint_file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors.*cut short"):
        read_detokenizer(cut)


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
        (b"\x08\x08\x12\x07pytorch", "begins with 08 08 12 07"),
    ],
)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, found: str) -> None:
    foreign = tmp_path / "weights.safetensors"
    foreign.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\.safetensors: found .*{found}"):
        read_checkpoint(foreign)


def test_tensors_of_something_else_are_refused(tmp_path: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "other")
    with pytest.raises(
        CheckpointError, match=r"found a .* 1 tensors \(lm_head\.weight.*known: min-dalle"
    ):
        read_detokenizer(tmp_path / "other")


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    write_checkpoint: Callable[..., Path], tmp_path: Path, poison: float
) -> None:
    path = write_checkpoint(tmp_path / "x", post_quant_conv__bias=torch.full((32,), poison))
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.bias holds NaN or infinity"):
        read_detokenizer(path)


def test_a_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nowhere")
