"""The self-test of an incremental file: rows that arrive in a few updates, and the last picture.

As in `self_test.py`, a client runs it once when it loads the file, within a tolerance. The updates
are such that lines are redone, cached and carried.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from rowcast_export.incremental_painting import Painting, Updater
from rowcast_export.runtime import Bytes, to_bytes
from rowcast_export.self_test import TOLERANCE, fixed_ids, thumbnail

ROWS: Final = 8
COLS: Final = 4
UPDATES: Final = (3, 5, 8)  # rows after each
THUMBNAIL_SIDE: Final = 4


@dataclass(frozen=True)
class IncrementalSelfTest:
    """The JSON under `rowcast.self_test`.

    `ids` has rows * cols entries, row by row; `updates` are the rows held after each update. The
    last picture's `thumbnail` has side * side * 3 mean values 0..255, as in `self_test.py`.
    """

    rows: int
    cols: int
    ids: list[int]
    updates: list[int]
    thumbnail: list[int]
    thumbnail_side: int
    tolerance: int

    def to_json(self) -> str:
        """One line, the same bytes each time."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> IncrementalSelfTest:
        """Raises ValueError or TypeError where the text is not such a record."""
        return cls(**json.loads(text))

    def thumbnail_difference(self, updater: Updater, redone_half_rows: int) -> int:
        """Paint the grid; the largest difference of a thumbnail entry, of 255."""
        picture = _paint(updater, redone_half_rows, self.ids, self.cols, self.updates)
        seen = thumbnail(picture, self.thumbnail_side)
        return max(abs(a - b) for a, b in zip(seen, self.thumbnail, strict=True))


def make_incremental_self_test(
    updater: Updater, codebook_size: int, redone_half_rows: int
) -> IncrementalSelfTest:
    """Paint the fixed grid and note what came out."""
    ids = fixed_ids(ROWS * COLS, codebook_size)
    picture = _paint(updater, redone_half_rows, ids, COLS, UPDATES)
    return IncrementalSelfTest(
        rows=ROWS,
        cols=COLS,
        ids=ids,
        updates=list(UPDATES),
        thumbnail=thumbnail(picture, THUMBNAIL_SIDE),
        thumbnail_side=THUMBNAIL_SIDE,
        tolerance=TOLERANCE,
    )


def _paint(
    updater: Updater, redone_half_rows: int, ids: list[int], cols: int, updates: Sequence[int]
) -> Bytes:
    """The last picture, [height, width, 3]."""
    grid = np.array(ids, np.int64).reshape(1, -1, cols)
    painting = Painting(updater, redone_half_rows)
    pictures = [painting.show(grid[:, :rows]) for rows in updates]
    last: Bytes = to_bytes(pictures[-1])[0]
    return last
