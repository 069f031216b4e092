"""What a target's process tells of itself: a page of memory that outlives it.

The input is written there before it is tried, so that one that hangs, or takes the process with it,
is known all the same, whatever language it does so in.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

HEAD: Final = struct.Struct("<QdQ")  # inputs tried, CPU seconds of the process, length
MOST_BYTES: Final = 1 << 20


class Progress:
    """The page, as a file that two processes map."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(HEAD.size + MOST_BYTES))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)

    def write(self, runs: int, cpu_seconds: float, data: bytes) -> None:
        HEAD.pack_into(self._page, 0, runs, cpu_seconds, len(data))
        self._page[HEAD.size : HEAD.size + len(data)] = data

    @property
    def runs(self) -> int:
        return int(HEAD.unpack_from(self._page)[0])

    @property
    def cpu_seconds(self) -> float:
        return float(HEAD.unpack_from(self._page)[1])

    @property
    def data(self) -> bytes:
        """The input that was tried last."""
        return self._page[HEAD.size : HEAD.size + int(HEAD.unpack_from(self._page)[2])]
