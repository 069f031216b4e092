"""The same numbers as min-dalle 0.4.11 at real size, and the memory that loading takes.

Random weights in min-dalle's own file format and dtype: Mini whole, Mega at full width with two
layers. `make parity` prints the figures.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.agreement import measure
from tests.support.peer import MEGA, MINI, write_min_dalle

pytestmark = [pytest.mark.parity, pytest.mark.timeout(900)]

# Run in a process of its own, as `rowcast serve` would: load, make the graphs, draw one token.
# Watches the resident anonymous memory (Linux) every 5 ms.
LOADING = """
import re, sys, threading, time
import numpy as np
import onnxruntime, rowcast_server.server
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.models.loading import load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import UNCONDITIONAL, Sampling
from pathlib import Path

def anonymous():
    text = open("/proc/self/status").read()
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", text)[1])

peak, watching = 0, True
def watch():
    global peak
    while watching:
        peak = max(peak, anonymous())
        time.sleep(0.005)

before, begin = anonymous(), time.perf_counter()
thread = threading.Thread(target=watch)
thread.start()
model = load_transformer(find_in(Path(sys.argv[1])))
runner = OnnxRunner(model, 16, 1)
runner.open(0, PictureRequest(UNCONDITIONAL, 0, 0, Sampling(), 1))
runner.step(np.array([0]))
watching = False
thread.join()
weights = 4 * (model.encoder.elements + model.decoder.elements)
print(before, peak, anonymous(), weights, time.perf_counter() - begin)
"""


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_min_dalle(tmp_path_factory.mktemp("models") / "dalle_bart_mini", MINI)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_loading_mini_takes_no_second_copy(mini: Path) -> None:
    for cache in ("written", "found"):
        run = subprocess.run(
            [sys.executable, "-c", LOADING, str(mini)], capture_output=True, text=True, check=True
        )
        before, peak, after, weights, seconds = map(float, run.stdout.split())
        taken = (peak - before) / weights
        print(
            f"loading Mini, graphs {cache}: {seconds:.1f} s; weights in float32 "
            f"{weights / 1e9:.2f} GB; anonymous memory at most {taken:.2f} x that above before "
            f"({before / 1e6:.0f} MB), {(after - before) / weights:.2f} x once loaded"
        )
        assert taken <= 1.3


def test_mini_at_its_real_size(mini: Path) -> None:
    agreement = measure(mini, MINI)
    print(f"Mini: {agreement}")
    agreement.check()


def test_two_layers_of_mega_at_full_width(tmp_path: Path) -> None:
    sizes = replace(MEGA, layers=2)
    agreement = measure(write_min_dalle(tmp_path / "dalle_bart_mega", sizes), sizes)
    print(f"Mega, two layers: {agreement}")
    agreement.check()
