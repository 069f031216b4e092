"""The same numbers as min-dalle 0.4.11 at real size, and the memory that loading takes.

Random weights in min-dalle's own file format and dtype: Mini whole, Mega at full width with two
layers. `make parity` prints the figures.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rowcast_bench.engine import loading

from tests.support.engine.agreement import measure
from tests.support.engine.peer import MEGA, MINI, write_min_dalle

pytestmark = [pytest.mark.parity, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_min_dalle(tmp_path_factory.mktemp("models") / "dalle_bart_mini", MINI)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_loading_mini_takes_no_second_copy(mini: Path, tmp_path: Path) -> None:
    for graphs in ("written", "found"):
        found = loading.measure(mini, tmp_path / "cache", threads=1)
        print(f"loading Mini, graphs {graphs}: {found}, {found.taken:.2f} x the weights at most")
        assert found.weights > 1.7e9
        assert found.taken <= 1.3


def test_mini_at_its_real_size(mini: Path) -> None:
    agreement = measure(mini, MINI)
    print(f"Mini: {agreement}")
    agreement.check()


def test_two_layers_of_mega_at_full_width(tmp_path: Path) -> None:
    sizes = replace(MEGA, layers=2)
    agreement = measure(write_min_dalle(tmp_path / "dalle_bart_mega", sizes), sizes)
    print(f"Mega, two layers: {agreement}")
    agreement.check()
