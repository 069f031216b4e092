"""A decoder of real size in min-dalle's own file: how long it takes, its sizes, its pixels.

`make parity` prints the figures.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from min_dalle.models import VQGanDetokenizer
from rowcast_export.runtime import OnnxDetokenizer, to_bytes

from tests.support.decoders import lively

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1_800)]

LONGEST = 240  # seconds on two cores
RUN = "import sys; from rowcast_export.cli import export; sys.exit(export(sys.argv[1:]))"


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
    command = [sys.executable, "-c", RUN, str(tmp_path / "detoker.pt"), "-o", str(out)]
    command += ["--precision", "fp32,fp16,int8", "--threads", str(threads)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    tokens = np.random.default_rng(0).integers(0, 16384, (1, 256))
    with torch.inference_mode():
        wanted = peer(False, torch.from_numpy(tokens)).numpy()  # [256, 256, 3], 0..255
    pixels = OnnxDetokenizer(out / "detokenizer.onnx", threads).decode(tokens.reshape(1, 16, 16))
    apart = np.abs(to_bytes(pixels)[0].astype(np.int16) - wanted.astype(np.uint8))
    within_one = float((apart <= 1).mean())
    files = json.loads((out / "manifest.json").read_text())["files"]
    figures = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "peak_mb": after.ru_maxrss // 1024,
        "bytes": {entry["file"]: entry["bytes"] for entry in files},
        "psnr": {entry["file"]: round(entry["agreement"].get("psnr", 0), 1) for entry in files},
        "bytes_within_one": within_one,
        "threads": threads,
    }
    print(json.dumps(figures))
    assert within_one >= 0.999
    assert (wanted / 255).std() > 0.05
    assert seconds < LONGEST
