"""`rowcast bench janus` on a tiny model: both sides draw, and the report names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from rowcast_bench.engine import janus


def test_both_sides_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWCAST_CACHE", str(tmp_path))
    monkeypatch.setattr(janus, "WIDE", {"width": 128, "ffn_width": 96, "codes": 97})
    figures, report = janus.run(Console(stderr=True), 1, threads=1, rounds=1, device="cpu")
    assert list(figures["sides"]) == ["transformers", "ours, float32", "ours, int8", "ours, int4"]
    for speeds in figures["sides"].values():
        assert speeds["one"] > 0
        assert speeds["together"] > 0
    assert "| ours, int8 |" in report
