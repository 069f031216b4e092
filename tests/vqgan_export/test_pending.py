"""Files appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rowcast_export.pending import pending_files


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    targets = [tmp_path / "a", tmp_path / "b"]
    with pending_files(targets) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")
            assert temporary.parent == tmp_path
        assert not any(target.exists() for target in targets)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def write() -> None:
        with pending_files([target, tmp_path / "b"]) as temporaries:
            temporaries[0].write_text("new")
            raise failure

    with pytest.raises(failure):
        write()
    assert os.listdir(tmp_path) == ["a"]
    assert target.read_text() == "old"


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"), pending_files([tmp_path / "a"]) as temporaries:
        temporaries[0].write_text("new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_is_made_and_on_failure_removed(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "deeper" / "a"
    with pytest.raises(ValueError, match="no"), pending_files([target]):
        raise ValueError("no")
    assert os.listdir(tmp_path) == []
    with pending_files([target]) as temporaries:
        temporaries[0].write_text("new")
    assert target.read_text() == "new"
