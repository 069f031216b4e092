"""A row's bytes become an image by the client's own session; the times are never tested."""

from __future__ import annotations

import json

import pytest
from rowcast_bench.cli import bench
from rowcast_bench.first_paint import measure, random_palette


def test_every_figure_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(["first-paint", "--pictures", "2"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < figures["first_paint_ms_p50"] <= figures["first_paint_ms_p99"]
    assert figures["side"] == 256
    assert figures["palette_bytes"] == 128 + 3 * 4 * 4 * 16_384


def test_pictures_are_counted_but_for_those_that_warm_up() -> None:
    counted: list[int] = []
    taken = measure(random_palette(), 3, lambda: counted.append(1))
    assert len(counted) == 3
    assert len(taken) == 3 * 16
