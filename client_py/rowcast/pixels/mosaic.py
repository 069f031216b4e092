"""Several pictures as one, without seams: their ids are decoded as a single large grid.

A detokenizer sees past the edge of a token, so pictures decoded side by side in one grid run into
each other where pictures pasted side by side show an edge (min-dalle's ``is_seamless``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InvalidRequest
from ..picture import Picture
from .palette import PAPER
from .tiers import Decoder
from .time_lapse import revealed

NOT_DRAWN: Final = 0  # fills the grid where no id is held; it is never decoded


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
        self._decoded: dict[_Rectangle, NDArray[np.uint8]] = {}  # of the last painting alone
        self._decoder: Decoder | None = None  # of the last painting
        self._painted: Image.Image | None = None

    @classmethod
    def of(cls, pictures: Sequence[Picture], columns: int | None = None) -> Mosaic:
        """The mosaic of pictures that are there, say of .rows files. Raises InvalidRequest."""
        mosaic = cls(len(pictures), columns)
        for index, picture in enumerate(pictures):
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

        What was decoded for the last painting is not decoded again. When every picture is complete,
        this is one decode of the whole grid [rows of pictures * rows, columns * cols].

        Raises DetokenizerError.
        """
        first = next((each for each in self._pictures if each is not None), None)
        if first is None:
            return None
        high, wide, side = first.recipe.rows, first.recipe.cols, detokenizer.pixels_per_token
        ids = np.full((self.rows * high, self.columns * wide), NOT_DRAWN, np.uint32)
        held = np.zeros((self.rows, self.columns), int)
        for index, picture in enumerate(self._pictures):
            if picture is not None:
                grid = picture.grid  # a copy: the picture may grow meanwhile
                row, column = divmod(index, self.columns)
                place = ids[row * high :, column * wide : (column + 1) * wide]
                place[: len(grid)] = grid
                held[row, column] = len(grid)
        if not held.any():
            return None
        if detokenizer is not self._decoder:
            self._decoder, self._decoded = detokenizer, {}
        rectangles = list(_rectangles(held, high))
        if self._painted is not None and self._decoded.keys() == set(rectangles):
            return self._painted
        canvas = np.full((ids.shape[0] * side, ids.shape[1] * side, 3), PAPER, np.uint8)
        decoded = {}
        for each in rectangles:
            tokens = ids[each.top : each.bottom, each.left * wide : each.right * wide]
            pixels = self._decoded.get(each)
            if pixels is None:
                pixels = detokenizer.paint(tokens, each.end - each.top)
            decoded[each] = pixels
            seen = slice(each.seen_from * side, each.bottom * side)
            across = slice(each.left * wide * side, each.right * wide * side)
            rows = slice((each.seen_from - each.top) * side, (each.bottom - each.top) * side)
            canvas[seen, across] = pixels[rows]
        self._decoded, self._painted = decoded, Image.fromarray(canvas)
        return self._painted

    def time_lapse(self, detokenizer: Decoder) -> Iterator[Image.Image]:
        """The mosaic with one, two, … rows of every picture; one decode."""
        whole = self.paint(detokenizer)
        if whole is None:
            return iter(())
        held, high = max((each.rows_held, each.recipe.rows) for each in self._pictures if each)
        return revealed(whole, held, detokenizer.pixels_per_token, high)


class _Rectangle(NamedTuple):
    """Ids that are decoded together: rows of ids, columns of pictures.

    Its first rows, above ``seen_from``, are only decoded for what stands below them: a wider
    rectangle shows them. From ``bottom`` to ``end``, the last row of its pictures, ids are missing.
    """

    top: int
    bottom: int
    end: int
    left: int
    right: int
    seen_from: int


def _rectangles(held: NDArray[np.int_], high: int) -> Iterator[_Rectangle]:
    """Rectangles of a mosaic to decode, each as one, so that every row held is seen once.

    ``held`` [rows, columns] counts the rows of ids, of ``high``, that each picture has. A row of
    pictures that are all complete joins the one below it.
    """
    top = 0
    for row, counts in enumerate(held):
        if row == len(held) - 1 or (counts < high).any():
            heights, end = [row * high + int(count) for count in counts], (row + 1) * high
            yield from _steps(heights, top, end, top, 0, len(heights))
            top = end


def _steps(
    heights: list[int], top: int, end: int, seen_from: int, left: int, right: int
) -> Iterator[_Rectangle]:
    """The rows that all columns have as one rectangle, then each run of columns with more."""
    bottom = min(heights[left:right])
    if bottom > seen_from:
        yield _Rectangle(top, bottom, end, left, right, seen_from)
    column = left
    for is_higher, run in groupby(heights[left:right], lambda height: height > bottom):
        after = column + len(list(run))
        if is_higher:
            yield from _steps(heights, top, end, bottom, column, after)
        column = after
