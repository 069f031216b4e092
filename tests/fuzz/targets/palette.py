"""Palettes: what is none is refused, and NumPy reads one the same."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from rowcast.errors import DetokenizerError
from rowcast.pixels.palette import Palette

from tests.fuzz.mutation import worded
from tests.fuzz.target import Target, told

CODES, SIDE = 6, 4
WORDS: Final = (
    b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"'descr': '|u1'", b"'descr': '|O'", b"'<u2'",
    b"True", b"False", b"'shape': ", b"(6, 2, 2, 3)", b"(6, 1, 1, 3)", b"(6, 4, 4, 3)",
    b"(6, 3, 3, 3)", b", }", b"99", b"0", b"1", b"-1", b"\n", b"   ", b"()", b"v\x00", bytes(3),
    bytes(18), bytes(72),
)  # fmt: skip


def palette_file(side: int) -> bytes:
    file = io.BytesIO()
    table = np.arange(CODES * side * side * 3, dtype=np.uint8).reshape(CODES, side, side, 3)
    np.lib.format.write_array(file, table, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read(data: bytes) -> str:
    try:
        palette = Palette(data, CODES, SIDE)
    except DetokenizerError as error:
        return told(error)
    theirs = np.load(io.BytesIO(data), allow_pickle=False)
    assert theirs.dtype == np.uint8, theirs.dtype
    assert np.array_equal(palette.table, theirs)
    grid = np.arange(CODES).reshape(2, 3)
    assert palette.paint(grid, rows=4).shape == (4 * SIDE, 3 * SIDE, 3)
    return f"a palette of {palette.table.shape}"


TARGETS: Final = {
    "palette": Target(read, lambda: [palette_file(side) for side in (1, 2, 4)], worded(*WORDS))
}
