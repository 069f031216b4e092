"""Files compressed for the web: once, beside what is served, in the cache.

Weights of 32 bits and tables of pixels lose four tenths of their size; halves and int8 hardly any.
Nobody waits for it: the first who could take a file compressed gets it as it is.
"""

from __future__ import annotations

import gzip
import logging
import threading
from pathlib import Path
from typing import Final

from ..kept_folders import cached_folder

logger = logging.getLogger(__name__)

LEVEL: Final = 6
WORTH: Final = 0.9  # of the size: what saves less is not kept
CHUNK_BYTES: Final = 1_048_576


class CompressedFiles:
    """Files by SHA-256, each compressed by a thread of its own when it is first asked for."""

    def __init__(self) -> None:
        self._found: dict[bytes, Path | None] = {}
        self._begun: set[bytes] = set()

    def of(self, sha256: bytes, path: Path) -> Path | None:
        """The gzip file of ``path``; None while there is none, or where it would save too little.

        For one thread.
        """
        if sha256 not in self._begun:
            self._begun.add(sha256)
            work = threading.Thread(target=self._make, args=(sha256, path), daemon=True)
            work.start()
        found = self._found.get(sha256)
        return found if found is not None and found.is_file() else None

    def _make(self, sha256: bytes, path: Path) -> None:
        try:
            folder = cached_folder("compressed", sha256, lambda new: compress(path, new))
        except OSError as error:  # no cache: files go out as they are
            logger.info("%s is not compressed: %s", path.name, error)
        else:
            self._found[sha256] = next(folder.glob("*.gz"), None)


def compress(path: Path, folder: Path) -> None:
    """Write ``path`` as gzip (RFC 1952) into ``folder``; nothing where that saves too little."""
    packed = folder / f"{path.name}.gz"
    with (
        path.open("rb") as source,
        packed.open("wb") as sink,
        gzip.GzipFile("", "wb", LEVEL, sink, mtime=0) as out,
    ):
        while chunk := source.read(CHUNK_BYTES):
            out.write(chunk)
    if packed.stat().st_size > WORTH * path.stat().st_size:
        packed.unlink()
