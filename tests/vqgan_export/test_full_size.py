"""Decoders of real size in min-dalle's own file and in a whole Janus': their pixels, and an end
within some minutes.

`make parity` prints the figures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from min_dalle.models import VQGanDetokenizer
from rowcast_bench.export import measure
from rowcast_export.runtime import OnnxDetokenizer, to_bytes

from tests.support.decoders import lively
from tests.support.janus_files import deepseek_folder, janus, paint, transformers_folder

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1_800)]

LONGEST = 240  # seconds on two cores


def test_the_real_detokenizer_is_exported_in_time_and_shows_min_dalles_pixels(
    tmp_path: Path,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = VQGanDetokenizer().eval()
    lively(peer)
    torch.save(peer.state_dict(), tmp_path / "detoker.pt")
    out = tmp_path / "out"
    threads = min(2, os.cpu_count() or 1)
    exported = measure(tmp_path / "detoker.pt", out, threads)

    tokens = np.random.default_rng(0).integers(0, 16384, (1, 256))
    with torch.inference_mode():
        wanted = peer(False, torch.from_numpy(tokens)).numpy()  # [256, 256, 3], 0..255
    pixels = OnnxDetokenizer(out / "detokenizer.onnx", threads).decode(tokens.reshape(1, 16, 16))
    apart = np.abs(to_bytes(pixels)[0].astype(np.int16) - wanted.astype(np.uint8))
    within_one = float((apart <= 1).mean())
    files = json.loads((out / "manifest.json").read_text())["files"]
    figures = {
        "seconds": round(exported.seconds, 1),
        "psnr": {entry["file"]: round(entry["agreement"].get("psnr", 0), 1) for entry in files},
        "bytes_within_one": within_one,
        "threads": threads,
    }
    print(json.dumps(figures))
    assert within_one >= 0.999
    assert (wanted / 255).std() > 0.05
    assert exported.seconds < LONGEST


@pytest.mark.parametrize("write", [deepseek_folder, transformers_folder])
def test_janus_own_detokenizer_is_exported_and_shows_transformers_pixels(
    write: Callable[[Path, Any], Path], tmp_path: Path
) -> None:
    """24x24 tokens of 16,384 codes: 384x384 pixels."""
    peer = janus(grid=24, codes=16384, base_channels=128, blocks=2, latent_channels=256)
    source, out = write(tmp_path / "janus", peer), tmp_path / "out"
    threads = min(2, os.cpu_count() or 1)
    exported = measure(source, out, threads)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 16384, (1, 24, 24)))
    wanted = paint(peer, ids).numpy()
    files = json.loads((out / "manifest.json").read_text())["files"]
    figures: dict[str, Any] = {
        "seconds": round(exported.seconds, 1),
        "psnr": {entry["file"]: round(entry["agreement"].get("psnr", 0), 1) for entry in files},
        "threads": threads,
    }
    for precision, share in (("detokenizer.onnx", 0.999), ("detokenizer.fp16.onnx", 0.999)):
        pixels = OnnxDetokenizer(out / precision, threads).decode(ids.numpy())
        apart = np.abs(to_bytes(pixels).astype(np.int16) - to_bytes(wanted))
        figures[precision] = float((apart <= 1).mean())
        assert figures[precision] >= share, figures
    print(json.dumps(figures))
    assert wanted.shape == (1, 3, 384, 384)
    assert wanted.std() > 0.05
    assert exported.seconds < LONGEST
