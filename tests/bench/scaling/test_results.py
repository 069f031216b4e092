"""What `rowcast bench scaling` measures, plans and writes."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from pathlib import Path

import pytest
from rowcast_bench.scaling import measure, page, plans

from tools.make_figures import BLOCK

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/scaling.md"
RESULTS = json.loads((ROOT / "bench/results/scaling.json").read_text("utf-8"))


@pytest.mark.parametrize("name", page.BLOCKS)
def test_the_page_says_what_the_results_say(name: str) -> None:
    blocks = {match[1]: match[2] for match in BLOCK.finditer(DOCUMENT.read_text("utf-8"))}
    assert blocks[f"scaling_{name}"] == page.BLOCKS[name](RESULTS) + "\n"


def test_the_results_hold_what_is_asked_of_two_replicas() -> None:
    """Beside one process on the same cores, and beside their simulation."""
    assert not RESULTS["quick"]
    cluster = RESULTS["cluster"]
    assert cluster["throughput_ratio"] >= 0.8
    assert cluster["added_row_ms"]["p50"] <= 5
    assert cluster["added_row_ms"]["p99"] <= 25
    off = [each for load in RESULTS["agreement"] for each in load["off_percent"].values()]
    assert len(off) == 4
    assert max(map(abs, off)) <= 15


def test_an_h100s_steps_are_those_that_were_measured() -> None:
    told = json.loads(plans.MEASURED.read_text("utf-8").splitlines()[-1])
    steps = plans.mega_on_h100()
    tokens = plans.ROWS * plans.COLS
    assert tokens * steps.of(1) == pytest.approx(told["ours_picture_s"])
    rate = plans.SLOTS / (tokens * steps.of(plans.SLOTS))
    assert rate == pytest.approx(told["batch32_pictures_per_s"])


def test_a_plan_loses_no_picture_and_has_replicas_to_spare() -> None:
    (plan,) = plans.worked({"cluster": {"gateway_cpu_ms_per_row": 1.0}}, quick=True)
    assert plan["lost_pictures"] == 0
    assert plan["replicas"] * 31.2 * (1 - plans.SPARE) >= plan["pictures_per_s"]
    assert plan["gateway_cores"] == 1
    assert plan["waited_ms"]["p99"] <= plan["first_row_ms"]["p99"] < plan["picture_ms"]["p50"]


@pytest.mark.timeout(60)
def test_loops_count_rows_from_their_drawing_to_their_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "WARM_UP", 0.1)
    monkeypatch.setattr(measure, "SOCKETS", 3)
    monkeypatch.setattr(measure, "AMONG_SOCKETS", 1)
    seeds = count(1)
    with measure.served(slots=4, threads=1) as server:
        closed = asyncio.run(measure.closed_loop(server.url, 2, 2.0, seeds))
        opened = asyncio.run(measure.open_loop(server.url, 2.0, 2.0, seeds))
        first, last = asyncio.run(measure.among_sockets(server.url, seeds))
        assert server.cpu_seconds() > 0
        drawn = server.drawn()
    assert min(first, last) > 0
    for loop in (closed, opened):
        assert loop.rows > 0
        latencies = measure.row_latencies(loop, drawn)
        assert len(latencies) == len(loop.received)
        assert 0 < latencies[0] < 1
