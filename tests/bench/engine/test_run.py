"""`rowcast bench engine` measures what it says; the figures themselves are never tested."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_bench.cli import bench
from rowcast_bench.engine import gpu
from rowcast_bench.engine import run as engine
from rowcast_bench.engine.report import report
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
    "ms_per_step",
    "ratio",
    "ratio_of_8_jobs",
    "memory_share",
}


@pytest.mark.timeout(300)
def test_both_sides_draw_the_same_tokens_and_every_figure_is_there(
    own_cache: Path,
) -> None:
    text = io.StringIO()
    figures = engine.measure("small", 1, TINY, Console(file=text, width=500))
    assert list(figures["sides"]) == ["min_dalle", "ours", "states", "int8"]
    assert all(figures["sides"][name].keys() >= KEYS for name in ("ours", "states", "int8"))
    assert figures["sides"]["ours"].keys() >= {f"roofline_share_of_{n}" for n in (1, 8, 16)}
    assert figures["greedy_tokens_identical"] is True
    assert figures["row_emit_rows"] >= 32
    assert figures["int8_same_greedy"] > 0.9
    assert figures["row_emit_p99_ms"] > 0
    assert all(value > 0 for side in figures["sides"].values() for value in side.values())
    told = report(figures)
    assert "are identical" in told
    assert "| times as fast | 1.0 |" in told
    assert (own_cache / "bench" / "random-small" / "decoder.pt").is_file()


@pytest.mark.parametrize("missing", ["min_dalle", "torch"])
@pytest.mark.parametrize("name", ["engine", "loading"])
def test_without_the_peer_nothing_is_written_and_nothing_measured(
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    missing: str,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RowcastError, match=f"`rowcast bench {name}` needs {missing}"):
        bench([name, "--size", "small"])
    assert "writing random weights" not in capsys.readouterr().err
    assert not (own_cache / "bench").exists()


def test_a_cold_round_is_never_the_only_one() -> None:
    assert min(engine.BRIEF.rounds, engine.THOROUGH.rounds) >= 3


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
    figures, text = gpu.run("small", "cpu", "bfloat16", 1, Console(file=io.StringIO()))
    assert f"**{figures['batch32_ratio']}**" in text
    assert figures["ours_picture_s"] > figures["ours_first_row_ms"] / 1e3 > 0
    assert figures["min_dalle_picture_s"] > 0
    assert figures["batch32_ratio"] > 0
