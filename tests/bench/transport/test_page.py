"""docs/bandwidth-vs-latency.md says what the committed results say."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowcast_bench.transport.page import BLOCK, BLOCKS, page
from rowcast_bench.transport.plots import PLOTS
from rowcast_bench.transport.results import SCHEMA, read

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/bandwidth-vs-latency.md"
RESULTS = read(ROOT / "bench/results/transport.json")


def test_the_page_is_that_of_the_results() -> None:
    text = PAGE.read_text("utf-8")
    assert page(RESULTS, text) == text
    assert {match[1] for match in BLOCK.finditer(text)} == BLOCKS.keys()


def test_the_results_are_a_whole_run() -> None:
    assert RESULTS["schema"] == SCHEMA
    assert not RESULTS["quick"]
    assert RESULTS["command"] == "rowcast bench transport"
    paces = sum(len(each["paces"]) for each in RESULTS["galleries"].values())
    count = len(RESULTS["links"]) * len(RESULTS["ways"]) * paces
    assert len(RESULTS["combinations"]) == count


def test_another_number_in_the_results_changes_the_page() -> None:
    other = RESULTS | {"seconds": RESULTS["seconds"] + 600}
    text = PAGE.read_text("utf-8")
    assert page(other, text) != text


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_is_there(name: str) -> None:
    for kind in ("png", "svg"):
        assert (PAGE.with_suffix("") / f"{name}.{kind}").stat().st_size > 5_000
    assert f"bandwidth-vs-latency/{name}.png" in PAGE.read_text("utf-8")
