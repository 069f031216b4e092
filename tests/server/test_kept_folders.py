"""What can be made again is kept for a while, whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from rowcast_server.kept_folders import cached_folder

HOUR = 3_600


def make(folder: Path) -> None:
    (folder / "file").write_text("made")


def refuse(folder: Path) -> None:
    pytest.fail("it is there already")


def aged(folder: Path, hours: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder, (time.time() - hours * HOUR,) * 2)
    return folder


def test_it_is_made_once(own_cache: Path) -> None:
    folder = cached_folder("kind", b"digest", make)
    assert folder == own_cache / "kind" / b"digest".hex()
    assert (cached_folder("kind", b"digest", refuse) / "file").read_text() == "made"


def test_what_failed_leaves_nothing(own_cache: Path) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached_folder("kind", b"digest", fail)
    assert list((own_cache / "kind").iterdir()) == []


def test_what_a_killed_process_left_is_swept_after_a_day(own_cache: Path) -> None:
    fresh, old = (aged(own_cache / "kind" / f".left{age}", age) for age in (23, 25))
    cached_folder("kind", b"digest", make)
    assert fresh.is_dir()
    assert not old.exists()


def test_what_was_not_used_for_a_month_goes_when_another_is_made(own_cache: Path) -> None:
    used, unused, recent, other_kind = (
        aged(own_cache / name, hours)
        for name, hours in (
            (f"kind/{b'used'.hex()}", 31 * 24),
            (f"kind/{b'unused'.hex()}", 31 * 24),
            (f"kind/{b'recent'.hex()}", 29 * 24),
            (f"other/{b'unused'.hex()}", 31 * 24),
        )
    )
    cached_folder("kind", b"used", refuse)
    assert unused.is_dir()  # nothing was made
    cached_folder("kind", b"digest", make)
    assert used.is_dir()
    assert recent.is_dir()
    assert other_kind.is_dir()
    assert not unused.exists()
    assert len(list((own_cache / "kind").iterdir())) == 3


def test_one_who_is_interrupted_while_sweeping_leaves_no_half_under_a_name(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = own_cache / "kind" / b"unused".hex()
    make(aged(unused, 0))
    (unused / "other").write_text("made")
    aged(unused, 31 * 24)

    def interrupt(folder: Path, ignore_errors: bool) -> None:
        (folder / "file").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rowcast_server.kept_folders.shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cached_folder("kind", b"digest", make)
    assert (cached_folder("kind", b"unused", make) / "file").read_text() == "made"


def test_of_two_that_write_at_once_the_first_wins(own_cache: Path) -> None:
    def second(folder: Path) -> None:
        (folder / "file").write_text("second")
        first = own_cache / "kind" / b"digest".hex()
        first.mkdir(parents=True, exist_ok=True)
        (first / "file").write_text("first")

    folder = cached_folder("kind", b"digest", second)
    assert (folder / "file").read_text() == "first"
    assert len(list(folder.parent.iterdir())) == 1
