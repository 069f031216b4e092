"""A preview at real size, from a checkpoint to a picture: exported, served, fetched, painted.

`make parity` prints the figures.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import rowcast
import torch
from rowcast_bench.decode.files import F16
from rowcast_export.cli import export
from rowcast_export.runtime import OnnxDetokenizer, to_bytes
from rowcast_export.vqgan import VQGANDecoder
from safetensors.torch import save_file

from tests.support.decoders import lively
from tests.support.servers import running_server
from tests.support.tiny_model import tiny_model

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1_800)]

SIDE = 256
MOST_PREVIEW_BYTES = 5_000_000


def test_a_preview_of_16384_codes_paints_what_its_file_says(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = VQGANDecoder(F16).eval()
    lively(decoder)
    checkpoint, folder = tmp_path / "f16.safetensors", tmp_path / "model"
    save_file(decoder.state_dict(), checkpoint)
    np.save(tmp_path / "grids.npy", np.random.default_rng(0).integers(0, 16_384, (8, 4, 4)))
    tiny_model(folder, rows=16, cols=16, codebook_size=16_384, pixels_per_token=16)
    started = time.perf_counter()
    words = [checkpoint, "-o", folder, "--distill", tmp_path / "grids.npy"]
    words += ["--steps", "2", "--batch", "1", "--preview-precision", "fp16,fp32", "--threads", "2"]
    assert export([str(word) for word in words]) == 0
    seconds = time.perf_counter() - started
    with (
        running_server(folder) as server,
        rowcast.connect_sync(server.ws_url, quality="preview") as client,
    ):
        [done] = client.pictures("a red house", seed=1)
        tiers = client.tiers
    assert tiers == ("palette uint8", "preview fp32 on cpu")
    assert done.image is not None
    assert done.image.size == (SIDE, SIDE)
    grid = done.picture.grid[None].astype(np.int64)
    for name in ("preview.onnx", "preview.fp16.onnx"):
        pixels = to_bytes(OnnxDetokenizer(folder / name, threads=2).decode(grid))[0]
        apart = np.abs(pixels.astype(np.int16) - np.asarray(done.image))
        assert apart.max() <= (0 if name == "preview.onnx" else 3)
    size = (folder / "preview.fp16.onnx").stat().st_size
    print(json.dumps({"seconds": round(seconds, 1), "fp16_bytes": size}))
    assert size <= MOST_PREVIEW_BYTES
