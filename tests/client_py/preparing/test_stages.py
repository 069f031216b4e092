"""The record of stages: done is what was done so, and whose files are still there as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowcast.preparing.stages import PrepareError, Stages


def test_a_stage_is_done_until_its_settings_or_files_change(tmp_path: Path) -> None:
    path, file = tmp_path / "work/stages.json", tmp_path / "file"
    stages = Stages(path)
    assert stages.settings("draw") is None
    assert not stages.is_done("draw", {"grids": 8})
    stages.begin("draw", {"grids": 8})
    assert Stages(path).settings("draw") == {"grids": 8}
    assert not Stages(path).is_done("draw", {"grids": 8})  # it was begun
    file.write_bytes(b"grids")
    stages.end("draw", {"grids": 8}, [file])
    again = Stages(path)
    assert again.is_done("draw", {"grids": 8})
    assert not again.is_done("draw", {"grids": 9})
    file.write_bytes(b"other")
    assert not again.is_done("draw", {"grids": 8})
    file.unlink()
    assert not again.is_done("draw", {"grids": 8})


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2, "stages": {}}', '{"format": 1}'])
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(content)
    with pytest.raises(PrepareError, match=r"stages\.json is damaged .*; remove its folder"):
        Stages(tmp_path / "stages.json")
