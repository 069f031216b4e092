"""`rowcast bench engine` measures what it says; the figures themselves are never tested."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_bench.engine import gpu
from rowcast_bench.engine import run as engine
from rowcast_bench.engine.worker import Worker

TINY = engine.Effort(
    rounds=1,
    steps=4,
    job_rows=1,
    prompts=1,
    rows=32,
    stop_row=2,
    streaming_rows=1,
    read_bytes=1 << 24,
    product_size=256,
)
KEYS = {
    "ours_ms_per_step",
    "min_dalle_ms_per_step",
    "single_ratio",
    "int8_ratio",
    "batch8_ratio",
    "memory_ceiling_share",
    "row_emit_p99_ms",
}


@pytest.mark.timeout(300)
def test_both_sides_draw_the_same_tokens_and_every_figure_is_there(
    own_cache: Path,
) -> None:
    text = io.StringIO()
    figures = engine.run("small", 1, TINY, Console(file=text, width=500))
    assert set(figures) >= KEYS
    assert figures["greedy_tokens_identical"] is True
    assert figures["row_emit_rows"] >= 32
    assert figures["int8_same_greedy"] > 0.9
    assert all(figures[name] > 0 for name in KEYS)
    assert "are identical" in text.getvalue()
    assert (own_cache / "bench" / "random-small" / "decoder.pt").is_file()


def test_what_goes_wrong_in_a_worker_is_told_here() -> None:
    with pytest.raises(RowcastError, match="invalid literal"):
        Worker(int, "seven")
    with Worker(int, 7) as worker:
        assert worker.call("bit_length") == 3
        with pytest.raises(RowcastError, match="AttributeError"):
            worker.call("no_such_method")


@pytest.mark.timeout(300)
def test_whole_pictures_by_the_torch_runner_are_measured_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `--device cuda` runs it, on the device that every machine has."""
    for name, value in (("ROUNDS", 1), ("MANY", 2)):
        monkeypatch.setattr(gpu, name, value)
    figures = gpu.run("small", "cpu", "bfloat16", 1, Console(file=io.StringIO()))
    assert figures["ours_picture_s"] > figures["ours_first_row_ms"] / 1e3 > 0
    assert figures["min_dalle_picture_s"] > 0
    assert figures["batch32_ratio"] > 0
