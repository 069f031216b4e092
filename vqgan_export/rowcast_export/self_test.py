"""The self-test inside a file: a grid of ids, and a thumbnail of the picture it must give.

A client decodes the grid once when it loads the file, and so learns whether its runtime gets this
graph right. Machines differ in the last bit, so the client compares a thumbnail within a tolerance;
the sha256 of all pixels is what the exporting machine saw, on one thread.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from .runtime import Bytes, Decodes, Ids, to_bytes

ROWS: Final = 4
COLS: Final = 4
THUMBNAIL_SIDE: Final = 4  # blocks across and down
TOLERANCE: Final = 2  # of 255


@dataclass(frozen=True)
class SelfTest:
    """The JSON under ``rowcast.self_test``.

    ``ids`` has rows * cols entries, row by row. ``thumbnail`` has side * side * 3 integers 0..255:
    for each block of the picture, row by row, its mean red, green and blue, rounded to nearest.
    ``pixels_sha256`` is over the bytes of the picture, floor(x * 255), [height, width, 3].
    """

    rows: int
    cols: int
    ids: list[int]
    thumbnail: list[int]
    thumbnail_side: int
    tolerance: int
    pixels_sha256: str

    def to_json(self) -> str:
        """The record as one line, the same bytes each time."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> SelfTest:
        """Parse a record. Raises ValueError or TypeError where the text is another thing."""
        return cls(**json.loads(text))

    def thumbnail_difference(self, detokenizer: Decodes) -> int:
        """Decode the grid; the largest difference of a thumbnail entry, of 255."""
        ids = np.array(self.ids, dtype=np.int64).reshape(1, self.rows, self.cols)
        seen = thumbnail(to_bytes(detokenizer.decode(ids))[0], self.thumbnail_side)
        return max(abs(a - b) for a, b in zip(seen, self.thumbnail, strict=True))


def make_self_test(detokenizer: Decodes, codebook_size: int) -> SelfTest:
    """Decode the fixed grid and note what came out."""
    ids = fixed_ids(ROWS * COLS, codebook_size)
    grid: Ids = np.array(ids, dtype=np.int64).reshape(1, ROWS, COLS)
    picture = to_bytes(detokenizer.decode(grid))[0]
    return SelfTest(
        rows=ROWS,
        cols=COLS,
        ids=ids,
        thumbnail=thumbnail(picture, THUMBNAIL_SIDE),
        thumbnail_side=THUMBNAIL_SIDE,
        tolerance=TOLERANCE,
        pixels_sha256=hashlib.sha256(picture.tobytes()).hexdigest(),
    )


def fixed_ids(count: int, codebook_size: int) -> list[int]:
    """Ids that are the same in every language: the first four bytes of SHA-256(index), modulo."""
    digests = (hashlib.sha256(str(index).encode()).digest() for index in range(count))
    return [int.from_bytes(digest[:4], "big") % codebook_size for digest in digests]


def thumbnail(picture: Bytes, side: int) -> list[int]:
    """Picture [height, width, 3], both a multiple of ``side`` -> side * side * 3 mean values."""
    height, width, channels = picture.shape
    blocks = picture.reshape(side, height // side, side, width // side, channels)
    means = blocks.mean(axis=(1, 3), dtype=np.float64)
    return [int(value) for value in np.floor(means + 0.5).ravel()]
