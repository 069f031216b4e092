"""Files that appear complete or not at all.

Each is written under a temporary name beside its target, so that the final rename stays within one
file system; whatever goes wrong before it (a full disk, Ctrl-C, a failed check) leaves the target
as it was. This module must not know what is in the files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def pending_files(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield one temporary path per target, to be created by the caller; rename them at the end.

    The folder of a target is made if need be, and removed again on failure. If the body raises,
    the temporary files are removed. Raises OSError where a file cannot be written or renamed.
    """
    folders: list[Path] = []
    temporaries = [
        target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial") for target in targets
    ]
    try:
        for target in targets:
            _make_folder(target.parent, folders)
        yield temporaries
        for temporary in temporaries:
            _flush(temporary)
        for temporary, target in zip(temporaries, targets, strict=True):
            os.replace(temporary, target)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # somebody else's file is in it by now
                folder.rmdir()
        raise


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder with its parents; append to `made` those that were not there."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        made.append(parent)


def _flush(path: Path) -> None:
    """Have the bytes on the disk before the name says so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
