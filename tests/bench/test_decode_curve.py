"""A wider window costs more, and the best points are those of the bars."""

from __future__ import annotations

import io

from rich.console import Console
from rowcast_bench.decode_bars import BARS, missed
from rowcast_bench.decode_curve import Point, best_points, costs
from rowcast_bench.decode_files import DecoderFiles
from rowcast_bench.decode_report import show_curve

CHEAP = Point(1, 3.1, 0.18, 20.0, 18.0, 0.8)
CHEAP_TOO = Point(2, 3.6, 0.21, 25.0, 21.0, 1.4)
DEAR = Point(5, 4.8, 0.29, 36.0, 24.0, 1.0)
DEARER = Point(6, 5.2, 0.32, 39.0, 25.0, 1.05)


def test_a_wider_window_costs_more(tiny_files: DecoderFiles) -> None:
    cost = costs(tiny_files, [2, 5, 40])
    totals = [cost[redone].total_full_decodes for redone in (2, 5, 40)]
    assert totals == sorted(totals)
    assert 8.5 < totals[-1] - 1 < 10  # every row so far, each time; the coarse band besides
    assert cost[5].update_full_decodes_max == cost[5].update_full_decodes[-1] < 1


def test_the_best_points() -> None:
    found = best_points([CHEAP, CHEAP_TOO, DEAR, DEARER])
    assert [point for _, point in found] == [CHEAP_TOO, DEAR]
    assert best_points([]) == []
    text = io.StringIO()
    show_curve([CHEAP_TOO, DEAR], 1, Console(file=text, width=200))
    assert "the cheapest with the quality: 2.5 rows redone, 4.8 full decodes" in text.getvalue()


def test_bars_that_were_not_measured_are_not_missed() -> None:
    kept = {
        "total_full_decodes": 3.7,
        "update_full_decodes_max": 0.22,
        "incremental_psnr_db": 35.0,
        "seam_ratio": 1.1,
        "palette_ms": 1.0,
        "palette_bytes": 800_000,
        "preview_cost_ratio": None,
        "preview_psnr_db": None,
        "final_equal": True,
    }
    assert kept.keys() == {bar.name for bar in BARS}
    assert missed(kept) == []
    wrong = {"total_full_decodes": 3.71, "seam_ratio": 1.11, "preview_psnr_db": 25.9}
    assert missed({**kept, **wrong, "final_equal": False}) == [*wrong, "final_equal"]
