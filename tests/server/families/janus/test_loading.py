"""One Janus-Pro, four layouts; and what a wrong file's error names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from rowcast_export.formats import read_detokenizer
from rowcast_server.convert import convert
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.errors import ModelError
from rowcast_server.families.janus.sizes import TEXT_PLACES, JanusSizes, tensors_of
from rowcast_server.memory import slot_bytes
from rowcast_server.models.detokenizers import _key
from rowcast_server.models.loading import Transformer, load, load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import CacheKind, Grid, Sampling
from rowcast_server.placement import Placement
from rowcast_server.server import announce

from tests.support.janus import CODES, write_deepseek, write_port
from tests.support.tiny_model import tiny_detokenizer

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "transformers, in shards": lambda folder: write_port(folder, shard="200KB"),
    "deepseek": write_deepseek,
    "deepseek, in shards": lambda folder: write_deepseek(folder, shards=3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_weights_are_the_same_model_in_any_layout(
    layout: str, model: Transformer, tmp_path: Path
) -> None:
    folder = LAYOUTS[layout](tmp_path / "model")
    other = load_transformer(find_in(folder))
    assert other.revision == model.revision
    assert set(other.decoder) == set(tensors_of(JanusSizes.of(other.decoder)))
    for name in other.decoder:
        assert np.array_equal(other.decoder[name], model.decoder[name]), name
    assert (other.grid, other.sampling) == (model.grid, model.sampling)
    assert other.specials == model.specials


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_converted_model_is_the_same_model_with_its_decoder(layout: str, tmp_path: Path) -> None:
    source = LAYOUTS[layout](tmp_path / "source")
    assert convert([str(source), "-o", str(tmp_path / "out")]) == 0
    before, after = (load_transformer(find_in(each)) for each in (source, tmp_path / "out"))
    assert before.revision == after.revision
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "detokenizer.safetensors",
        "janus.safetensors",
        "model.json",
        "tokenizer.json",
    ]
    files = find_in(source).detokenizer, find_in(tmp_path / "out").detokenizer
    theirs, ours = (read_detokenizer(path).tensors for path in files if path is not None)
    assert set(theirs) == set(ours)
    assert all(np.array_equal(theirs[name], ours[name]) for name in theirs)


def test_what_no_file_says_is_the_family_s(model: Transformer, tmp_path: Path) -> None:
    assert model.sampling == Sampling(top_k=0, guidance=5.0)
    assert model.grid == Grid(8, 8, CODES, CODES)
    folder = write_port(tmp_path / "janus-pro-1b")
    (folder / "model.json").unlink()
    plain = load_transformer(find_in(folder))
    assert (plain.name, plain.grid) == ("janus-pro-1b", Grid(24, 24, CODES, CODES))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = write_port(tmp_path / "model")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["model.language_model.layers.1.mlp.up_proj.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight is missing"):
        load_transformer(find_in(folder))


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    folder = write_port(tmp_path / "model")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["model.generation_head.vision_head.weight"] = torch.zeros(3, 256)
    safetensors.torch.save_file(state, folder / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"vision_head\.weight is of shape 3 x 256, needs 96 x 256"
    ):
        load_transformer(find_in(folder))


def test_another_model_of_the_same_layout_is_refused(tmp_path: Path) -> None:
    folder = write_port(tmp_path / "model")
    safetensors.torch.save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="holds no image embeddings of Janus-Pro"):
        load_transformer(find_in(folder))


def test_another_start_token_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="leave out `codebook_size`"):
        load_transformer(find_in(folder), start_token=3)


def test_a_cache_of_states_is_refused(model: Transformer) -> None:
    with pytest.raises(ModelError, match="a token's position is turned into its keys"):
        OnnxRunner(model, 1, threads=1, cache=CacheKind.STATES)


def test_a_slot_takes_the_bytes_that_are_said(model: Transformer) -> None:
    said = slot_bytes(model.decoder, Placement(), model.grid.tokens)
    runner = OnnxRunner(model, 1, threads=1)
    assert sum(array.nbytes for array in runner.held.caches.values()) == said.all
    assert said.text == said.tokens // model.grid.tokens * (TEXT_PLACES - 1)


def test_serving_safetensors_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from rowcast_server.models.loading import load_transformer;"
        "from rowcast_server.models.sources import find_in; from pathlib import Path;"
        f"load_transformer(find_in(Path({str(folder)!r}))); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_is_announced_as_any_model_is(tmp_path: Path) -> None:
    folder = write_port(tmp_path / "model")
    tiny_detokenizer(folder / "detokenizer.onnx", CODES)
    announced = announce(load(str(folder)))
    assert (announced.name, announced.rows, announced.cols) == ("janus-tiny", 8, 8)
    assert (announced.sampling.guidance.default, announced.sampling.top_k.default) == (5.0, 0)


def test_an_export_is_kept_by_all_shards_of_its_source(tmp_path: Path) -> None:
    folder = write_deepseek(tmp_path / "model", shards=3)
    index = folder / "pytorch_model.bin.index.json"
    before = _key(index)
    assert _key(index) == before
    write_deepseek(tmp_path / "model", shards=3, seed=1)
    assert _key(index) != before
