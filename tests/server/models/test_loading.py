"""One model, many layouts; and every way in which its files can be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from rowcast.errors import RowcastError
from rowcast_export.formats import CheckpointError
from rowcast_server.errors import ModelError
from rowcast_server.models.loading import load
from rowcast_server.models.shapes import tensors_of
from rowcast_server.network.facts import TransformerShape

from tests.document import ROOT
from tests.support.checkpoints import (
    CODES,
    flax_bytes,
    flax_tree,
    halves,
    write_flax_folder,
    write_min_dalle_folder,
    write_safetensors_folder,
    write_torch,
)
from tests.support.tiny_model import tiny_detokenizer, tiny_model

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "min-dalle": write_min_dalle_folder,
    "hub": lambda folder: write_min_dalle_folder(folder, "_mini"),
    "old torch": lambda folder: write_min_dalle_folder(
        folder, _use_new_zipfile_serialization=False
    ),
    "safetensors": write_safetensors_folder,
    "flax, stacked": lambda folder: write_flax_folder(folder, stacked=True),
    "flax, in chunks": lambda folder: write_flax_folder(folder, stacked=True, chunked=True),
    "flax, numbered": lambda folder: write_flax_folder(folder, stacked=False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_weights_are_the_same_model_in_any_layout(layout: str, tmp_path: Path) -> None:
    model = load(str(LAYOUTS[layout](tmp_path / "model")))
    for mine, expected in zip((model.encoder, model.decoder), halves(), strict=True):
        assert set(mine) == set(expected)
        for name, value in expected.items():
            assert mine[name].dtype == np.float32
            assert np.array_equal(mine[name], value.astype(np.float32)), name
    expected_model = load(str(write_safetensors_folder(tmp_path / "other")))
    assert model.revision == expected_model.revision
    assert model.grid == expected_model.grid
    assert (model.grid.rows, model.grid.codebook_size, model.grid.start_token) == (4, CODES, CODES)
    assert (model.sampling.temperature, model.sampling.top_k) == (1.0, 256)
    assert (model.sampling.top_p, model.sampling.guidance) == (1.0, 16.0)


@pytest.mark.parametrize("name", ["mini", "mega"])
def test_a_name_finds_min_dalles_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_min_dalle_folder(tmp_path / f"pretrained/dalle_bart_{name}")
    monkeypatch.chdir(tmp_path)
    assert load(name).name == name
    assert load("pretrained").name == name


def test_two_models_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("mini", "mega"):
        write_min_dalle_folder(tmp_path / f"dalle_bart_{name}")
    with pytest.raises(ModelError, match=r"name .*dalle_bart_mini or .*dalle_bart_mega"):
        load(str(tmp_path))
    flat = write_min_dalle_folder(write_min_dalle_folder(tmp_path / "flat"), "_mini")
    with pytest.raises(ModelError, match=r"encoder\.pt and encoder_mini\.pt"):
        load(str(flat))


def test_the_start_token_can_be_chosen_and_is_part_of_the_revision(tmp_path: Path) -> None:
    folder = str(write_min_dalle_folder(tmp_path / "model"))
    usual, chosen = load(folder), load(folder, start_token=CODES - 1)
    assert (usual.grid.start_token, chosen.grid.start_token) == (CODES, CODES - 1)
    assert usual.revision != chosen.revision
    with pytest.raises(ModelError, match=r"decoder\.pt: embed_tokens\.weight has 97 rows"):
        load(folder, start_token=CODES + 1)


def test_a_larger_image_vocabulary_is_not_drawn(tmp_path: Path) -> None:
    """Mega's is 16,415; the detokenizer has 16,384 codes."""
    folder = write_safetensors_folder(tmp_path / "model")
    decoder = dict(halves()[1])
    for name in ("embed_tokens.weight", "lm_head.weight"):
        decoder[name] = np.zeros((16_416, 64), np.float16)
    safetensors.numpy.save_file(decoder, folder / "decoder.safetensors")
    tiny_detokenizer(folder / "detokenizer.onnx", 16_384)
    grid = load(str(folder)).grid
    assert (grid.codebook_size, grid.start_token) == (16_384, 16_384)


def test_serving_safetensors_needs_no_torch(tmp_path: Path) -> None:
    folder = write_safetensors_folder(tmp_path / "model")
    code = (
        "import sys; from rowcast_server.models.loading import load; import rowcast_server.server;"
        f"load({str(folder)!r}).encoder['final_ln.bias']; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is wrong with a file, and what the error must name.


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    encoder, decoder = halves()
    del decoder["layers.1.encoder_attn.q_proj.weight"]
    write_torch(folder / "decoder.pt", decoder)
    refused(folder, "decoder.pt", r"layers\.1\.encoder_attn\.q_proj\.weight is missing")
    del encoder["layers.0.glu.ln1.bias"]  # only scales may be absent
    write_torch(folder / "encoder.pt", encoder)
    refused(folder, "encoder.pt", r"layers\.0\.glu\.ln1\.bias is missing")


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    encoder, _ = halves()
    encoder["layers.1.glu.fc2.weight"] = encoder["layers.1.glu.fc2.weight"].T
    write_torch(folder / "encoder.pt", encoder)
    refused(folder, "encoder.pt", r"layers\.1\.glu\.fc2\.weight is of shape 96 x 64, needs 64 x 96")


def test_a_tensor_that_would_change_the_numbers_is_not_ignored(tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    encoder, _ = halves()
    encoder["layers.0.self_attn.q_proj.bias"] = np.zeros(64, np.float16)
    write_torch(folder / "encoder.pt", encoder)
    refused(folder, "encoder.pt", r"q_proj\.bias is not part of this architecture")


def test_encoder_and_decoder_of_different_models(tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    write_torch(folder / "decoder.pt", halves(width=128)[1])
    refused(folder, "decoder.pt", "encoder of width 64 .* decoder of width 128")


def test_a_vocabulary_of_another_model(tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"more": len(vocabulary)}))
    refused(folder, "vocab.json", r"embed_tokens\.weight has \d+ rows")
    (folder / "vocab.json").write_text("{}")
    refused(folder, "vocab.json", "<s>")
    (folder / "vocab.json").write_text('{"<s>": 0')
    refused(folder, "vocab.json", "delimiter")


class Runs:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("ran",)


def test_what_the_reader_refuses_is_told_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ways in which files can be bad are the tests' of rowcast_export.formats."""
    monkeypatch.chdir(tmp_path)
    folder = write_min_dalle_folder(tmp_path / "model")
    torch.save({"embed_tokens.weight": Runs()}, folder / "encoder.pt")
    refused(folder, "encoder.pt", "refused: its pickle would run code")
    assert not (tmp_path / "ran").exists()
    (folder / "encoder.pt").write_bytes(b"hello")
    refused(folder, "encoder.pt", "found a file of an unknown kind")


@pytest.mark.parametrize("kind", ["int64", "complex64"])
def test_numbers_that_are_not_floating_are_no_weights(kind: str, tmp_path: Path) -> None:
    folder = write_min_dalle_folder(tmp_path / "model")
    encoder = {name: torch.from_numpy(value) for name, value in halves()[0].items()}
    encoder["final_ln.bias"] = torch.ones(64, dtype=getattr(torch, kind))
    torch.save(encoder, folder / "encoder.pt")
    refused(folder, "encoder.pt", rf"final_ln\.bias is of type (torch\.)?{kind}")


@pytest.mark.parametrize("spelling", ["FlaxOtherLayers", "LayerNorm_9"])
def test_other_spellings_of_flax_are_refused(spelling: str, tmp_path: Path) -> None:
    folder = write_flax_folder(tmp_path / "model", stacked=True)
    content = (folder / "flax_model.msgpack").read_bytes()
    if spelling == "LayerNorm_9":
        content = content.replace(b"LayerNorm_1", b"LayerNorm_9")
    else:
        tree = flax_tree(*halves(), stacked=True)
        layers = tree["model"]["encoder"]["layers"]  # type: ignore[index]
        layers[spelling] = layers.pop("FlaxBartEncoderLayers")
        content = flax_bytes(tree)
    (folder / "flax_model.msgpack").write_bytes(content)
    refused(folder, "flax_model.msgpack", f"{spelling}.* is not a tensor of dalle-mini's")


def test_a_folder_without_a_model_lists_the_layouts(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), r"flax_model\.msgpack")
    with pytest.raises(ModelError, match=r"unknown model 'nothing'.*mini, mega, janus-pro-1b"):
        load("nothing")
    folder = tiny_model(tmp_path / "model")
    (folder / "merges.txt").unlink()
    refused(folder, str(folder), "has no merges.txt")


def test_a_detokenizer_of_fewer_codes_is_refused(tmp_path: Path) -> None:
    folder = write_safetensors_folder(tmp_path / "model")
    tiny_detokenizer(folder / "detokenizer.onnx", CODES - 1)
    refused(folder, "detokenizer.onnx", "paints 95 codes")
    (folder / "detokenizer.onnx").write_bytes(b"\x08\x09nonsense")
    refused(folder, "detokenizer.onnx", "no ONNX file|does not say")


def refused(folder: Path, file: str, says: str) -> None:
    with pytest.raises(RowcastError, match=says) as error:
        load(str(folder))
    assert isinstance(error.value, ModelError | CheckpointError)
    assert file in str(error.value)


def test_operate_md_names_every_tensor_of_a_transformer() -> None:
    text = (ROOT / "docs" / "operate.md").read_text("utf-8")
    _, _, table = text.partition("| tensor | of | shape |\n|---|---|---|\n")
    sizes = TransformerShape(
        vocabulary=700, positions=64, width=128, glu_width=192, layers=2, outputs=600
    )
    letters = {"W": 128, "G": 192, "vocabulary": 700, "positions": 64, "outputs": 600}
    told: dict[str, dict[str, tuple[int, ...]]] = {"encoder": {}, "decoder": {}}
    for line in table.partition("\n\n")[0].splitlines():
        names, of, shape = line.strip("| ").split(" | ")
        first, *others = (name.strip("`") for name in names.split(", "))
        stem, _, last = first.rpartition(".")
        folder = stem.rpartition(".")[0]
        all_names = [first]
        for other in others:  # `.bias` beside `weight`, `k_proj` beside `q_proj`
            all_names.append(f"{stem}{other}" if other[0] == "." else f"{folder}.{other}.{last}")
        for name, half in product(all_names, of.split(", ")):
            for layer in range(2 if ".N." in name else 1):
                numbered = name.replace(".N.", f".{layer}.")
                told[half][numbered] = tuple(letters[each] for each in shape.split(", "))
    for half, tensors in told.items():
        assert tensors == tensors_of(half, sizes)
