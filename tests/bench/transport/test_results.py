"""What is kept of a run that was stopped."""

from __future__ import annotations

from pathlib import Path

from rowcast_bench.transport.results import Kept


def test_what_was_measured_is_there_after_a_stop_under_the_same_conditions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "partial.json"
    kept = Kept(path, {"machine": "this", "plan": (1, 2)})
    kept.other["recorded"] = [0.1]
    kept.put("mini 20ms", {"bytes": 7})
    again = Kept(path, {"machine": "this", "plan": (1, 2)})
    assert again.get("mini 20ms") == {"bytes": 7}
    assert again.other == {"recorded": [0.1]}
    assert again.get("mini 200ms") is None
    other = Kept(path, {"machine": "another", "plan": (1, 2)})
    assert other.get("mini 20ms") is None
    assert other.other == {}
    again.remove()
    assert not path.exists()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "partial.json"
    path.write_text('{"conditions": ', "utf-8")
    assert Kept(path, {}).get("any") is None
