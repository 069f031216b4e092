"""Files and folders appear whole or not at all, and errors name what was to be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rowcast.whole_files import whole_file, whole_files, whole_folder


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    targets = [tmp_path / "a", tmp_path / "b"]
    with whole_files(targets) as temporaries:
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
        with whole_files([target, tmp_path / "b"]) as temporaries:
            temporaries[0].write_text("new")
            raise failure

    with pytest.raises(failure):
        write()
    assert os.listdir(tmp_path) == ["a"]
    assert target.read_text() == "old"


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"), whole_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_the_body_forgets_is_an_error_and_none_appears(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"'[^']*/b'"),
        whole_files([tmp_path / "a", tmp_path / "b"]) as temporaries,
    ):
        temporaries[0].write_text("new")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_made_and_on_failure_removed(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "deeper" / "a"
    with pytest.raises(ValueError, match="no"), whole_file(target, make_folders=True):
        raise ValueError("no")
    assert os.listdir(tmp_path) == []
    with whole_file(target, make_folders=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_without_being_asked_no_folder_is_made(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a"
    with pytest.raises(FileNotFoundError) as caught, whole_file(target) as temporary:
        temporary.write_text("new")
    assert caught.value.filename == str(target)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [None, 7], ids=["none", "descriptor"])
def test_a_write_that_fails_without_a_name_names_the_one_target(
    tmp_path: Path, name: int | None
) -> None:
    with pytest.raises(OSError, match="No space left") as caught, whole_file(tmp_path / "a"):
        raise OSError(28, "No space left on device", name)
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "a"))


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "a"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")


@pytest.mark.parametrize("before", [False, True], ids=["missing", "empty"])
def test_a_folder_appears_whole(tmp_path: Path, before: bool) -> None:
    target = tmp_path / "deep" / "folder"
    if before:
        target.mkdir(parents=True)
    with whole_folder(target) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "a").write_text("new")
        assert not (target / "inner").exists()
    assert os.listdir(target.parent) == ["folder"]
    assert (target / "inner" / "a").read_text() == "new"


def test_a_folder_that_fails_is_not_there(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "folder") as temporary:
            (temporary / "a").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert os.listdir(tmp_path) == []


def test_of_two_that_fill_a_folder_the_first_wins(tmp_path: Path) -> None:
    target = tmp_path / "folder"

    def fill(words: str, *others: str) -> None:
        with whole_folder(target) as temporary:
            (temporary / "a").write_text(words)
            for other in others:
                fill(other)

    with pytest.raises(OSError, match="folder") as caught:
        fill("late", "early")
    assert caught.value.filename == str(target)
    assert (target / "a").read_text() == "early"
    assert os.listdir(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from rowcast.whole_files import whole_files, whole_folder
one, two, folder = map(Path, sys.argv[1:])
with whole_files([one, two]) as paths, whole_folder(folder) as inside:
    for path in (*paths, inside / "a"):
        path.write_text("half")
    print("written", flush=True)
    os.kill(os.getpid(), signal.SIGKILL) if HOW == "kill" else sys.stdin.read()
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    """But nothing that is still being written."""
    places = [tmp_path / "a", tmp_path / "b[1]", tmp_path / "folder"]

    def start(how: str) -> subprocess.Popen[str]:
        script = f"HOW = {how!r}\n{KILLED}"
        return subprocess.Popen(
            [sys.executable, "-c", script, *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with start("kill") as killed:
        assert killed.wait(60) == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    with start("wait") as writing:
        assert writing.stdout is not None
        assert writing.stdout.readline() == "written\n"
        assert len(os.listdir(tmp_path)) == 3  # the killed one's are gone
        with whole_files(places[:2]) as temporaries:
            for temporary in temporaries:
                temporary.write_text("new")
            assert len(os.listdir(tmp_path)) == 5
        assert len(os.listdir(tmp_path)) == 5
        writing.kill()
    (tmp_path / ".theirs.partial").write_text("not ours by its name")
    with whole_file(tmp_path / "another") as temporary:
        temporary.write_text("new")
    assert sorted(os.listdir(tmp_path)) == [".theirs.partial", "a", "another", "b[1]"]


def test_what_another_machine_left_goes_after_a_day(tmp_path: Path) -> None:
    """The number of a process says nothing there; nor do names of earlier versions."""
    for name in (".a.0123abcd-1-00000000.partial", ".a.0123abcd.partial"):
        left = tmp_path / name
        left.write_text("half")
        with whole_file(tmp_path / "a") as temporary:
            temporary.write_text("new")
        assert left.exists()
        os.utime(left, (0, time.time() - 90_000))
        with whole_file(tmp_path / "a") as temporary:
            temporary.write_text("new")
        assert not left.exists()
