"""Atomic writes: files and folders that appear whole, or not at all.

::

    with whole_file(path) as partial:                          # one file
        partial.write_bytes(data)
    with whole_files([first, second]) as [a, b]: ...           # several that belong together
    with whole_folder(folder) as partial: ...                  # a new folder and all that is in it

What is yielded is a temporary path beside its target (so the last rename stays within one file
system), for the body to create; its name starts with a dot and ends in ``.partial``. When the body
is through, the bytes are flushed to the disk, then the temporary path is renamed. Whatever goes
wrong before (an exception, Ctrl-C, a full disk) leaves the target as it was and nothing beside it.
What a process that was killed left in a folder is removed when something is written there again.

An OSError names the target, not the temporary path. This module must not know what is in the files;
it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HOLDER = re.compile(r"\.([0-9a-f]{8})(?:-(\d+)-[0-9a-f]{8})?\.partial$")
UNFINISHED = 86_400  # seconds, after which nobody is believed to be writing


@contextlib.contextmanager
def whole_file(target: Path, *, make_folders: bool = False) -> Iterator[Path]:
    """Replace one file by what the body writes to the path yielded. See `whole_files`."""
    with whole_files([target], make_folders=make_folders) as [temporary]:
        yield temporary


@contextlib.contextmanager
def whole_files(targets: Sequence[Path], *, make_folders: bool = False) -> Iterator[list[Path]]:
    """Replace several files by what the body writes to the paths yielded, one for each target.

    All are renamed after the body, none before. ``make_folders`` makes the targets' folders where
    they are missing, and removes them again on failure; without it a missing folder is an error.
    Raises OSError where a file cannot be written or renamed, and what the body raises.
    """
    names = {_temporary(target): target for target in targets}
    made: list[Path] = []
    try:
        with _naming_targets(names):
            if make_folders:
                for target in targets:
                    _make_folder(target.parent, made)
            yield list(names)
            for temporary in names:
                _flush(temporary)
            for temporary, target in names.items():
                os.replace(temporary, target)
    except BaseException:
        for temporary in names:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # somebody else's file is in it by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Make a folder of what the body puts into the empty one yielded; parents are made if need be.

    An empty folder of that name is replaced. Raises OSError (ENOTEMPTY or EEXIST) if another was
    filled meanwhile, which then stays, and what the body raises.
    """
    temporary = _temporary(target)
    try:
        with _naming_targets({temporary: target}):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    _flush(path)
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(target: Path) -> Path:
    """A temporary path beside the target, once what nobody holds any more is gone from there.

    ``.NAME.PLACE-PID-RANDOM.partial``: who holds it can be told by its name.
    """
    with contextlib.suppress(OSError):  # a folder that is not there, or that is not ours
        for left in target.parent.glob(".*.partial"):
            if (holder := HOLDER.search(left.name)) and not _is_held(left, *holder.groups()):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    mine = f"{_place()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f".{target.name}.{mine}.partial")


def _is_held(temporary: Path, place: str, pid: str | None) -> bool:
    """False if the process that made it is gone.

    Where that cannot be told (another machine or container, Windows), a day is waited.
    """
    if pid and place == _place() and os.name == "posix":
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass  # another user's: it runs
    return time.time() - temporary.stat().st_mtime < UNFINISHED


def _place() -> str:
    """The machine, and the container, in which the number of a process means something."""
    with contextlib.suppress(OSError):
        return _digest(platform.node() + os.readlink("/proc/self/ns/pid"))
    return _digest(platform.node())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@contextlib.contextmanager
def _naming_targets(names: dict[Path, Path]) -> Iterator[None]:
    """Have an OSError about a temporary path tell its target; with one target, any without a name.

    A write that fails, as on a full disk, does not say where.
    """
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str | bytes | os.PathLike)  # a descriptor is no name
        told = Path(os.fsdecode(error.filename)) if named else None
        target = names.get(told) if told else None
        if told is None and len(names) == 1:
            [target] = names.values()
        if target is None:
            raise
        words = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, words, str(target)) from error


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder with its parents; append to ``made`` those that were not there."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        made.append(parent)


def _flush(path: Path) -> None:
    """Write a file's bytes through to the disk, before its final name promises them."""
    with path.open("r+b") as file:  # Windows flushes no file that is open for reading alone
        os.fsync(file.fileno())
