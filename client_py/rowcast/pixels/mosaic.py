"""Several pictures as one, without seams: decoded by windows of one picture's size, and blended.

A detokenizer sees past the edge of a token, so a window that lies half in one picture and half in
the next shows none where pictures pasted side by side have an edge. Its norms and attention span
all that it decodes, so a window is no larger than the pictures that it was taught on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InvalidRequest
from ..picture import Picture, check_picture
from .palette import PAPER
from .tiers import Decoder
from .time_lapse import revealed

# A window across a seam is seen so far from it, in pictures; beyond is each picture's own decode.
REACH: Final = 1 / 4


class Mosaic:
    """``images`` pictures of one grid size, ``columns`` of them side by side, painted as one.

    Picture k stands in row k // columns and column k % columns. Where ``columns`` is None the
    rectangle is the one nearest to a square, no higher than wide: 4 pictures are 2 rows of 2, 6
    are 2 rows of 3, a prime number is one row. ``rows`` is the number of rows of pictures.

    Raises InvalidRequest where ``images`` pictures do not fill whole rows of ``columns``.
    """

    def __init__(self, images: int, columns: int | None = None) -> None:
        if images < 1:
            raise InvalidRequest(f"images must be 1 or more, not {images}")
        if columns is None:
            columns = images // next(n for n in range(math.isqrt(images), 0, -1) if images % n == 0)
        if columns < 1 or images % columns:
            raise InvalidRequest(
                f"{images} pictures do not fill whole rows of {columns}; "
                f"draw a multiple of {max(columns, 1)}, or choose columns that divide {images}"
            )
        self.images, self.columns, self.rows = images, columns, images // columns
        self._pictures: list[Picture | None] = [None] * images
        self._decoded: dict[_Window, NDArray[np.uint8]] = {}  # of the last painting alone
        self._decoder: Decoder | None = None  # of the last painting
        self._painted: Image.Image | None = None

    @classmethod
    def of(cls, pictures: Sequence[Picture], columns: int | None = None) -> Mosaic:
        """The mosaic of pictures that are there, say of .rows files. Raises InvalidRequest."""
        mosaic = cls(len(pictures), columns)
        for index, picture in enumerate(pictures):
            check_picture(picture)
            mosaic.place(index, picture)
        return mosaic

    def place(self, index: int, picture: Picture) -> None:
        """Put a picture into its place; its rows may still be arriving.

        Raises InvalidRequest where its grid differs from that of the others.
        """
        if self._pictures[index] is picture:
            return
        grid = (picture.recipe.rows, picture.recipe.cols)
        for other, each in enumerate(self._pictures):
            if each is not None and (each.recipe.rows, each.recipe.cols) != grid:
                raise InvalidRequest(
                    f"picture {index} of a mosaic has {grid[0]} x {grid[1]} ids, picture {other} "
                    f"{each.recipe.rows} x {each.recipe.cols}; join pictures of one grid size"
                )
        self._pictures[index] = picture
        self._decoded.clear()

    def paint(self, detokenizer: Decoder) -> Image.Image | None:
        """All rows that arrived until now, paper elsewhere; None before the first row of any.

        The middle half of each picture, and its sides without a neighbour, are as it is painted
        alone. What was decoded for the last painting is not decoded again. When every picture is
        complete, these are (2 * rows - 1) * (2 * columns - 1) decodes of one picture's size.

        Raises DetokenizerError.
        """
        first = next((each for each in self._pictures if each is not None), None)
        if first is None:
            return None
        high, wide, side = first.recipe.rows, first.recipe.cols, detokenizer.pixels_per_token
        ids = np.zeros((self.rows * high, self.columns * wide), np.uint32)
        held = np.zeros(ids.shape, bool)
        for index, picture in enumerate(self._pictures):
            if picture is not None:
                grid = picture.grid  # a copy: the picture may grow meanwhile
                top, left = index // self.columns * high, index % self.columns * wide
                known = slice(top, top + len(grid)), slice(left, left + wide)
                ids[known], held[known] = grid, True
        windows = list(_windows(held, high, wide))
        if not windows:
            return None
        if detokenizer is not self._decoder:
            self._decoder, self._decoded = detokenizer, {}
        if self._painted is not None and self._decoded.keys() == set(windows):
            return self._painted
        canvas = np.full((ids.shape[0] * side, ids.shape[1] * side, 3), PAPER, np.uint8)
        down, across = _weights(high, side)[:, None, None], _weights(wide, side)[:, None]
        decoded = {}
        for top, in_band in groupby(windows, attrgetter("top")):
            area = canvas[top * side : (top + high) * side]
            band = area.copy()  # seen where it has no window
            for each in in_band:
                columns = slice(each.left, each.left + wide)
                pixels = self._decoded.get(each)
                if pixels is None:
                    pixels = detokenizer.paint(ids[top : top + each.rows, columns], high)
                decoded[each] = pixels
                lines = each.rows * side
                place = band[:lines, columns.start * side : columns.stop * side]
                _blend(place, pixels[:lines], across if each.left % wide else None)
            _blend(area, band, down if top % high else None)
        self._decoded, self._painted = decoded, Image.fromarray(canvas)
        return self._painted

    def time_lapse(self, detokenizer: Decoder) -> Iterator[Image.Image]:
        """The mosaic with one, two, … rows of every picture, of one painting."""
        whole = self.paint(detokenizer)
        if whole is None:
            return iter(())
        held, high = max((each.rows_held, each.recipe.rows) for each in self._pictures if each)
        return revealed(whole, held, detokenizer.pixels_per_token, high)


class _Window(NamedTuple):
    """Ids of one picture's size that are decoded together: the first row, the first column.

    ``rows`` counts its first rows that are held in all columns; below them ids are missing.
    """

    top: int
    left: int
    rows: int


def _windows(held: NDArray[np.bool_], high: int, wide: int) -> Iterator[_Window]:
    """The windows of a mosaic that have something to show, each above those before it.

    ``held`` [rows, columns] tells which ids are there. Band by band: the pictures themselves and
    the windows across the seams between them, then all those that lie half a picture lower.
    """

    def tops(of: int, length: int) -> list[int]:
        return [*range(0, length, of), *range(of // 2, length - of, of)]

    for top in tops(high, len(held)):
        for left in tops(wide, held.shape[1]):
            whole = held[top : top + high, left : left + wide].all(1)
            rows = high if whole.all() else int(whole.argmin())
            if rows > -top % high:  # else nothing below the seam that it lies across
                yield _Window(top, left, rows)


def _weights(tokens: int, side: int) -> NDArray[np.float32]:
    """How much is seen of a window across a seam, for each pixel of ``tokens`` that cross it.

    A raised cosine: 1 at the seam, 0 from REACH on.
    """
    seam = tokens - tokens // 2
    distance = np.abs((np.arange(tokens * side) + 0.5) / side - seam) / (tokens * REACH)
    return (0.5 + 0.5 * np.cos(np.pi * distance.clip(max=1))).astype(np.float32)


def _blend(
    below: NDArray[np.uint8], pixels: NDArray[np.uint8], weights: NDArray[np.float32] | None
) -> None:
    """Put ``pixels`` on what is there, by their weights 0..1; None: they replace it."""
    if weights is None:
        below[...] = pixels
    else:
        below[...] = np.rint(below + weights * (pixels.astype(np.float32) - below))
