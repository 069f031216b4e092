"""Weights mapped from files: the same bits, made once, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.errors import ModelError
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network import graph_files
from rowcast_server.network.facts import Network

from tests.support.checkpoints import write_min_dalle_folder, write_safetensors_folder
from tests.support.engine.drawing import text_request


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_files, "LARGE_BYTES", 0)
    monkeypatch.setattr(graph_files, "LARGE_TENSOR_BYTES", 1_024)


def logits(model: LoadedModel, digest: bytes | None) -> bytes:
    """Eight steps of two pictures, bit by bit."""
    network = Network(model.encoder, model.decoder, model.grid, digest)
    runner = OnnxRunner(network, slots=2, threads=1)
    for slot, prompt in enumerate(("a red house", "the moon at night")):
        runner.open(slot, text_request(model.text_ids(prompt)))
    drawn = [
        runner.logits(np.array([token, 90 - token]), np.array([token, token])).copy()
        for token in range(8)
    ]
    return np.stack(drawn).tobytes()


def test_mapped_weights_give_the_same_bits(tmp_path: Path, own_cache: Path) -> None:
    model = load(str(write_min_dalle_folder(tmp_path / "model")))
    expected = logits(model, None)
    assert not own_cache.exists()
    for _ in ("written", "found"):
        assert logits(model, model.digest) == expected
    folders = list((own_cache / "graphs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "weights.bin"]
        assert (folder / "model.onnx").stat().st_size < (folder / "weights.bin").stat().st_size
        onnx.checker.check_model(str(folder / "model.onnx"))


def test_the_same_weights_in_another_format_share_the_files(
    tmp_path: Path, own_cache: Path
) -> None:
    for write in (write_min_dalle_folder, write_safetensors_folder):
        model = load(str(write(tmp_path / write.__name__)))
        logits(model, model.digest)
    assert len(list((own_cache / "graphs").iterdir())) == 2


def test_other_weights_are_other_files(tmp_path: Path, own_cache: Path) -> None:
    model = load(str(write_min_dalle_folder(tmp_path / "model")))
    logits(model, model.digest)
    logits(model, b"other")
    assert len(list((own_cache / "graphs").iterdir())) == 4


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(write_min_dalle_folder(tmp_path / "model")))
    written = 0

    def fail(descriptor: int) -> None:
        nonlocal written
        written += 1
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(ModelError, match=r"cannot hold .*No space left"):
            logits(model, model.digest)
    assert written == 1
    assert list((own_cache / "graphs").iterdir()) == []
    logits(model, model.digest)
