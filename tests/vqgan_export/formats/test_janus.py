"""Janus' detokenizer out of a whole checkpoint paints what transformers' own code paints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rowcast_export import palette as palette_module
from rowcast_export import verify as verify_module
from rowcast_export.building import build
from rowcast_export.export import export_detokenizer
from rowcast_export.formats import CheckpointError, detokenizers, families, read_detokenizer
from rowcast_export.formats.detokenizers import Checkpoint
from rowcast_export.runtime import OnnxDetokenizer, Pixels, to_bytes
from rowcast_export.settings import Settings
from rowcast_server.models.client_files import read_detokenizer as read_client_files
from torch import Tensor

from tests.support.janus_files import deepseek_folder, janus, paint, transformers_folder
from tests.vqgan_export.conftest import run_export

pytestmark = pytest.mark.timeout(400)
WRITERS = {"deepseek": deepseek_folder, "transformers": transformers_folder}


@pytest.fixture(scope="module")
def peer() -> Any:
    return janus()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, peer: Any) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("janus")
    return {name: write(top / name, peer) for name, write in WRITERS.items()}


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified on few grids: test_verify has the others."""
    monkeypatch.setattr(verify_module, "GRIDS", ((1, 2, 8), (1, 3, 4)))
    monkeypatch.setattr(palette_module, "PATCHWORK", (1, 8, 8))


def settings_of(checkpoint: Checkpoint) -> Settings:
    family = checkpoint.family
    return Settings("janus", family.group_norm_epsilon, family.value_range)


def within_one(pixels: Pixels, wanted: Tensor) -> float:
    """Share of the bytes that are at most 1 of 255 apart."""
    assert pixels.shape == tuple(wanted.shape)
    assert wanted.std() > 0.05  # or the comparison would say nothing
    apart = np.abs(to_bytes(pixels).astype(int) - to_bytes(wanted.numpy()))
    return float((apart <= 1).mean())


def pixels_of(folder: Path, ids: Tensor) -> Pixels:
    checkpoint = read_detokenizer(folder)
    with torch.inference_mode():
        pixels: Pixels = build(checkpoint, settings_of(checkpoint))(ids).numpy()
    return pixels


def some_ids(peer: Any, pictures: int = 3) -> Tensor:
    codes = peer.config.vq_config.num_embeddings
    grid = peer.config.vision_config.image_size // peer.config.vision_config.patch_size
    return torch.from_numpy(np.random.default_rng(0).integers(0, codes, (pictures, grid, grid)))


# The other's pictures are compared below, and an export is compared with its module.
@pytest.mark.parametrize(
    "names", ["deepseek", pytest.param("transformers", marks=pytest.mark.parity)]
)
def test_the_exported_file_paints_transformers_own_pictures(
    names: str, folders: dict[str, Path], peer: Any, tmp_path: Path, brief: None
) -> None:
    checkpoint = read_detokenizer(folders[names])
    assert checkpoint.family.unit_codes
    assert checkpoint.family.value_range == (-1.0, 1.0)
    assert not [name for name in checkpoint.tensors if "codebook_used" in name]
    export_detokenizer(checkpoint, tmp_path, settings_of(checkpoint), threads=1)
    ids = some_ids(peer)
    pixels = OnnxDetokenizer(tmp_path / "detokenizer.onnx", threads=1).decode(ids.numpy())
    assert within_one(pixels, paint(peer, ids)) >= 0.999


@pytest.mark.parametrize("names", WRITERS)
def test_nothing_but_the_decoder_is_read(
    names: str, folders: dict[str, Path], peer: Any, tmp_path: Path
) -> None:
    """Shards that hold none of it may be missing."""
    folder = tmp_path / "part"
    folder.mkdir()
    index = next(folders[names].glob("*.index.json"))
    places: dict[str, str] = json.loads(index.read_text())["weight_map"]
    decoder = ("model.decoder.", "model.quantize.embedding.", "model.post_quant_conv.")
    wanted = {file for name, file in places.items() if any(part in name for part in decoder)}
    assert wanted != set(places.values())
    for file in (index.name, *wanted):
        (folder / file).write_bytes((folders[names] / file).read_bytes())
    ids = some_ids(peer)
    assert within_one(pixels_of(folder, ids), paint(peer, ids)) == 1


def test_levels_in_the_wrong_order_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of equal widths, so that only the upsampling tells one order from the other."""
    folder = transformers_folder(tmp_path / "equal", janus(channel_multiplier=(2, 2, 2)))
    ids = torch.zeros(1, 4, 4, dtype=torch.int64)
    assert pixels_of(folder, ids).shape == (1, 3, 16, 16)
    monkeypatch.setitem(families.SUBSTITUTIONS, "janus", ())
    with pytest.raises(CheckpointError, match=r"decoder\.up\.2\.upsample"):
        pixels_of(folder, ids)


@pytest.mark.parametrize("names", WRITERS)
def test_the_comparison_sees_codes_of_other_lengths(
    names: str, folders: dict[str, Path], peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, llamagen = families.FAMILIES
    plain = dataclasses.replace(llamagen, unit_codes=False)
    monkeypatch.setattr(families, "FAMILIES", (*others, plain))
    own = dataclasses.replace(families.JANUS, unit_codes=False)
    monkeypatch.setattr(detokenizers, "JANUS", own)
    ids = some_ids(peer)
    assert within_one(pixels_of(folders[names], ids), paint(peer, ids)) < 0.9


def test_palette_and_preview_of_24_by_24_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: None
) -> None:
    monkeypatch.setattr("rowcast_export.preview.decoder.WIDTHS", (16, 8))
    monkeypatch.setattr("rowcast_export.preview.decoder.BLOCKS", (1, 0))
    peer = janus(grid=24, channel_multiplier=(1, 1))
    folder = transformers_folder(tmp_path / "janus", peer)
    ids = some_ids(peer, pictures=10)
    np.save(tmp_path / "grids.npy", ids.numpy())
    out = tmp_path / "out"
    words = ("--distill", tmp_path / "grids.npy", "--steps", 150, "--threads", 1)
    assert run_export(folder, "-o", out, *words) == 0
    files = {file.kind for file in read_client_files(out / "detokenizer.onnx").files}
    assert files == {"full", "preview", "preview_weights", "palette"}
    wanted = paint(peer, ids[:1])
    assert wanted.shape == (1, 3, 48, 48)
    full = OnnxDetokenizer(out / "detokenizer.onnx", threads=1).decode(ids[:1].numpy())
    assert within_one(full, wanted) >= 0.999
    preview = OnnxDetokenizer(out / "preview.onnx", threads=1).decode(ids[:1].numpy())
    palette = np.load(out / "palette.npy")[ids[0].numpy()] / 255  # [rows, cols, side, side, 3]
    painted = palette.transpose(4, 0, 2, 1, 3).reshape(3, 48, 48)
    flat = wanted.mean(dim=(2, 3), keepdim=True).numpy()
    for near in (preview, painted[None]):
        assert np.square(near - wanted.numpy()).mean() < np.square(flat - wanted.numpy()).mean()
