"""The folder where what can be made again is kept, under the hash of what it was made from."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rowcast.cache import default_cache

DAY = 86_400  # seconds
UNFINISHED = DAY  # then its process was killed
UNUSED = 30 * DAY  # other weights, another dtype, or an older Rowcast's: gigabytes each


def cached_folder(kind: str, digest: bytes, make: Callable[[Path], None]) -> Path:
    """The folder ``kind``/``digest`` of the cache; if it is not there, ``make`` fills a new one.

    It gets its name when it is whole. Of two that make it at once, the first wins. A folder that
    was not asked for in thirty days is removed when another of its kind is made.
    """
    folder = default_cache() / kind / digest.hex()[:32]
    if not folder.is_dir():
        _sweep(folder.parent)
        try:
            new_folder(folder, make)
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


def new_folder(folder: Path, make: Callable[[Path], None]) -> None:
    """Have ``make`` fill a folder beside ``folder``, then give it that name: whole or not at all.

    An empty ``folder`` is replaced. Raises OSError if it has been filled meanwhile or the disk is
    full, and what ``make`` raises, having removed what it wrote.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's are private; the finished folder need not be
        make(temporary)
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
