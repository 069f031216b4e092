"""The palette: a table of a few pixels for each code, which paints in microseconds.

The first tier of a picture, shown the moment a row arrives. The file is an `.npy` of fixed form
(protocol.md, R-84), read here byte by byte: no pickle, no NumPy parser, nothing larger than it may
be. Knows neither ONNX nor where the file came from.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import DetokenizerError
from ..messages import MAX_PALETTE_BYTES

# What is not drawn yet is shown in this colour, 0..255.
PAPER: Final = (236, 233, 226)
START: Final = b"\x93NUMPY\x01\x00"  # then two bytes that count those of the header
HEADER: Final = re.compile(
    rb"\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \(([1-9]\d{0,8}), ([1-9]\d?), ([1-9]\d?), 3\), \} *\n"
)


class Palette:
    """The table of a ``palette`` file's ``content``: uint8 [codes, k, k, 3].

    ``pixels_per_token`` is the model's; ``name`` stands in messages. Raises DetokenizerError for
    what is no palette, or is one of other codes or pixels than the model's.
    """

    def __init__(
        self, content: bytes, codebook_size: int, pixels_per_token: int, name: str = "the palette"
    ) -> None:
        self.codebook_size = codebook_size
        self.pixels_per_token = pixels_per_token
        self.table = _read(content, name)
        codes, side = self.table.shape[:2]
        if codes != codebook_size or pixels_per_token % side:
            raise DetokenizerError(
                f"{name} has {codes} codes of {side} x {side} pixels; the model has "
                f"{codebook_size} of {pixels_per_token} x {pixels_per_token}: it is another's"
            )

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """[batch, rows, cols] ids -> [batch, rows * p, cols * p, 3] RGB.

        Raises DetokenizerError for an id outside the codebook.
        """
        batch, rows, cols = ids.shape
        try:
            if ids.size and int(ids.min()) < 0:  # `take` would count from the end
                raise IndexError
            pixels = self.table.take(ids, axis=0)  # [batch, rows, cols, k, k, 3]
        except IndexError as error:
            raise DetokenizerError(
                f"the id {int(ids.max())} is outside the codebook of {self.codebook_size}; take "
                "the palette of the picture's own model"
            ) from error
        side = self.table.shape[1]
        joined = pixels.swapaxes(2, 3).reshape(batch, rows * side, cols * side, 3)
        times = self.pixels_per_token // side
        return joined if times == 1 else joined.repeat(times, axis=2).repeat(times, axis=1)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        """A picture so far, RGB [rows * p, cols * p, 3]: ``grid`` [held, cols], paper below it.

        Raises DetokenizerError for an id outside the codebook.
        """
        return on_paper(self.decode(grid[None])[0], rows * self.pixels_per_token)


def on_paper(pixels: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """[h, width, 3] RGB -> [height, width, 3], paper below."""
    sheet = np.empty((height, *pixels.shape[1:]), np.uint8)
    sheet[: len(pixels)], sheet[len(pixels) :] = pixels, PAPER
    return sheet


def _read(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array uint8 [codes, k, k, 3] of an `.npy` file of the one form that R-84 allows.

    Raises DetokenizerError.
    """
    if len(content) > MAX_PALETTE_BYTES:
        raise DetokenizerError(
            f"{name} has {len(content)} bytes; a palette has at most {MAX_PALETTE_BYTES}"
        )
    first = len(START) + 2
    end = first + int.from_bytes(content[len(START) : first], "little")
    header = HEADER.fullmatch(content[first:end])
    if not content.startswith(START) or header is None:
        raise DetokenizerError(f"{name} is no palette, or is damaged; export it anew")
    codes, side, other = (int(number) for number in header.groups())
    if side != other or len(content) - end != codes * side * side * 3:
        raise DetokenizerError(
            f"{name} is damaged or cut short: {len(content) - end} bytes of pixels, not "
            f"{codes} x {side} x {other} x 3"
        )
    return np.frombuffer(content, np.uint8, offset=end).reshape(codes, side, side, 3)
