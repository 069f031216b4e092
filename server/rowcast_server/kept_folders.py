"""A cache of folders on disk, each under the hash of what it was made from."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rowcast.cache import default_cache
from rowcast.whole_files import whole_folder

DAY = 86_400  # seconds
UNFINISHED = DAY  # then its process was killed
UNUSED = 30 * DAY  # other weights, another dtype, or an older Rowcast's: gigabytes each


def cached_folder(kind: str, digest: bytes, make: Callable[[Path], None]) -> Path:
    """The folder ``kind``/``digest`` of the cache; if it is not there, ``make`` fills a new one.

    It gets its name when it is whole. Of two that make it at once, the first wins. A folder that
    was not asked for in thirty days is removed when another of its kind is made. Raises OSError
    where it cannot be written, and what ``make`` raises.
    """
    folder = default_cache() / kind / digest.hex()[:32]
    if not folder.is_dir():
        _sweep(folder.parent)
        try:
            with whole_folder(folder) as unfinished:
                make(unfinished)
        except OSError:
            if not folder.is_dir():
                raise
    with contextlib.suppress(OSError):  # a cache that is only read
        os.utime(folder)
    return folder


def _sweep(kind: Path) -> None:
    """Remove what was left unfinished, and what has not been used for long.

    The latter loses its name first: whoever is interrupted leaves no half of a folder under it, and
    where files in use cannot be removed (Windows), it stays whole.
    """
    for left in kind.glob("*"):
        with contextlib.suppress(OSError):
            age = time.time() - left.stat().st_mtime
            finished = not left.name.startswith(".")
            if age > (UNUSED if finished else UNFINISHED):
                doomed = left.rename(left.with_name(f".{left.name}.unused")) if finished else left
                shutil.rmtree(doomed, ignore_errors=True)
