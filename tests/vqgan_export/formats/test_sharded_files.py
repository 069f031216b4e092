"""Sharded checkpoints: the index leads to the shards; what is missing or leads astray is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rowcast_export.building import build
from rowcast_export.formats import CheckpointError, open_checkpoint, read_detokenizer
from rowcast_export.settings import Settings
from safetensors.torch import save_file

from tests.support.decoders import CODES, JANUS, TAMING, State, decode, make_state


def write_safetensors(state: State, path: Path) -> None:
    save_file({name: value.contiguous() for name, value in state.items()}, path)


def write_shards(
    folder: Path,
    state: State,
    write: Callable[[State, Path], object] = write_safetensors,
    stem: str = "model",
    ending: str = "safetensors",
) -> Path:
    """Every third tensor in each of three files; the index."""
    places: dict[str, str] = {}
    for number in range(3):
        part = dict(list(state.items())[number::3])
        file = f"{stem}-{number + 1:05}-of-00003.{ending}"
        write(part, folder / file)
        places |= dict.fromkeys(part, file)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize(
    ("write", "stem", "ending"),
    [
        (write_safetensors, "diffusion_pytorch_model", "safetensors"),
        (torch.save, "pytorch_model", "bin"),
    ],
)
def test_shards_are_one_checkpoint(
    write: Callable[[State, Path], object], stem: str, ending: str, tmp_path: Path
) -> None:
    state = make_state(JANUS)
    index = write_shards(tmp_path, state, write, stem, ending)
    (tmp_path / "config.json").write_text('{"model_type": "janus"}')
    checkpoint = read_detokenizer(index)
    assert checkpoint.sha256 == read_detokenizer(tmp_path).sha256  # its folder will do
    ids = torch.arange(30).reshape(1, 5, 6) % CODES
    settings = Settings("x", checkpoint.family.group_norm_epsilon, checkpoint.family.value_range)
    with torch.inference_mode():
        pixels = build(checkpoint, settings)(ids)
        wanted = decode(JANUS, state, ids)
    assert np.abs(pixels.numpy() - wanted.numpy()).max() < 1e-4


def test_other_weights_have_another_hash(tmp_path: Path) -> None:
    index = write_shards(tmp_path, make_state(TAMING))
    first = read_detokenizer(index).sha256
    write_shards(tmp_path, make_state(TAMING, seed=1))
    assert read_detokenizer(index).sha256 != first


def test_a_shard_that_is_missing_is_named_once_it_is_wanted(tmp_path: Path) -> None:
    """Of a large model the shards with the decoder are enough."""
    state = {"a.language.model": torch.zeros(3), **make_state(TAMING)}
    index = write_shards(tmp_path, state)
    with_the_rest = json.loads(index.read_text())
    with_the_rest["weight_map"]["a.language.model"] = "elsewhere.safetensors"
    index.write_text(json.dumps(with_the_rest))
    assert read_detokenizer(index).tensors
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError,
        match=r"index\.json: a sharded checkpoint: .*00002.*, which is not beside it",
    ):
        read_detokenizer(index)


@pytest.mark.parametrize("kept", [1, 3])
def test_a_shard_alone_is_told_from_a_whole_checkpoint(tmp_path: Path, kept: int) -> None:
    write_shards(tmp_path, make_state(TAMING))
    shard = tmp_path / f"model-{kept:05}-of-00003.safetensors"
    with pytest.raises(
        CheckpointError, match=rf"it is shard {kept} of 3 of a sharded checkpoint: name its"
    ):
        build(read_detokenizer(shard), Settings("x"))


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", "", "..", "a\\b", "x\0y", "index.json"]
)
def test_an_index_leads_to_no_other_folder_and_not_to_itself(tmp_path: Path, file: str) -> None:
    (tmp_path / "below").mkdir()
    index = tmp_path / "below" / "index.json"
    write_safetensors({"weight": torch.ones(2)}, tmp_path / "secret")
    index.write_text(json.dumps({"weight_map": {"weight": file}}))
    with pytest.raises(CheckpointError, match=r"index\.json: "):
        open_checkpoint(index).tensors["weight"].read()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"model_type": "janus"}', "not the index of a sharded checkpoint"),
        ('{"weight_map": ["a"]}', "not the index of a sharded checkpoint"),
        ('{"weight_map": {"a": 1}}', "not the index of a sharded checkpoint"),
        ('{"weight_map": ', "neither a checkpoint nor JSON"),
        ('{"a":' * 100_000, "neither a checkpoint nor JSON"),
        ('{"weight_map": {}}', "no VQGAN decoder"),
    ],
)
def test_json_that_is_no_index_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{complaint}"):
        read_detokenizer(tmp_path / "config.json")
