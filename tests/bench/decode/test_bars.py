"""Bars are kept at their bound, and missed beyond it."""

from __future__ import annotations

from rowcast_bench.decode.bars import BARS, missed

KEPT = {
    "forming_psnr_db": 28.0,
    "forming_update_full_decodes_max": 1.0,
    "palette_ms": 1.0,
    "palette_bytes": 800_000,
    "preview_cost_ratio": 20.0,
    "preview_psnr_db": 26.0,
    "final_equal": True,
}


def test_bars_are_kept_at_their_bound_and_missed_beyond_it() -> None:
    assert KEPT.keys() == {bar.name for bar in BARS}
    assert missed(KEPT) == []
    wrong = {"forming_psnr_db": 27.9, "palette_ms": 1.01, "final_equal": False}
    assert missed({**KEPT, **wrong}) == [*wrong]
    assert [str(bar) for bar in BARS][:2] == ["≥ 28", "≤ 1"]
    assert str(BARS[-1]) == "yes"
