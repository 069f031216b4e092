"""Memory while a model is loaded, in a process of its own; at real size: tests/parity."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rowcast_bench.engine import loading
from rowcast_bench.engine.loading import Loading


def test_shares_are_of_the_weights() -> None:
    found = Loading(before=100, peak=400, after=250, weights=200, seconds=1.0)
    assert (found.taken, found.kept) == (1.5, 0.75)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_a_model_is_loaded_with_an_empty_cache_and_with_what_that_left(own_cache: Path) -> None:
    text = io.StringIO()
    figures, report = loading.run(Console(file=text, width=120), "small", 1)
    assert figures["weights_gb"] > 0.04
    for each in ("written", "found"):
        most, once_loaded = (figures[f"{each}_memory_by_weights{name}"] for name in ("", "_after"))
        assert most >= once_loaded > 0.5  # a small model is not mapped
        assert f"graphs {each}" in report
