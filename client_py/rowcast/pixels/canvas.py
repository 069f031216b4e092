"""Canvases: a picture, or a mosaic of pictures, as it looks now, and what would make it better.

A row is put on the canvas by the palette the moment it is known, and painted over by whatever
decodes it later. `show` and `take` are called by whoever tells events; `work` may take as long as a
decode, runs anywhere, and changes nothing here: so there are no locks.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..picture import Picture
from .loader import Painter
from .mosaic import Mosaic
from .palette import PAPER
from .tiers import TIERS, Tier

Rows = TypeVar("Rows")


class View(Protocol):
    """What the events of one picture, or of a whole mosaic, show."""

    turn: int  # when it was decoded last, to be fair to the others

    @property
    def image(self) -> Image.Image | None:
        """All rows that can be shown; None before the first."""

    @property
    def tier(self) -> str | None:
        """What painted the newest rows of the image."""

    def show(self, index: int, picture: Picture) -> bool:
        """Paint at once what can be; returns whether all rows of the picture are in the image."""

    def due(self, is_last: bool) -> Tier | None:
        """What it should be decoded with now; None if it cannot look better."""

    def is_final(self) -> bool:
        """Whether it is painted as finished pictures are, in all its rows."""

    def work(self, tier: Tier) -> Any:
        """Decode the newest state; the result is for `take`."""

    def take(self, result: Any) -> None:
        """Put a decode's pixels on the canvas."""


class _Canvas(Generic[Rows]):
    """What both kinds of view keep; ``Rows`` counts rows, of one picture or of each."""

    def __init__(self, painter: Painter, shown: Rows, decoded: Rows) -> None:
        self.turn = 0
        self._painter = painter
        self._canvas: NDArray[np.uint8] | None = None
        self._image: Image.Image | None = None
        self._shown: Rows = shown
        self._decoded: Rows = decoded
        self._decoded_by: str | None = None

    @property
    def image(self) -> Image.Image | None:
        if self._image is None and self._canvas is not None:
            self._image = Image.fromarray(self._canvas)  # a copy
        return self._image

    @property
    def tier(self) -> str | None:
        if self._canvas is None:
            return None
        return self._decoded_by if self._decoded == self._shown else "palette"

    def _is_final(self, held: Rows) -> bool:
        last = self._painter.last_name
        if last == "palette":
            return self._shown == held
        return not held or (self._decoded == held and self._decoded_by == last)

    def _better(self, tier: Tier, is_behind: bool) -> Tier | None:
        """The tier, if what it decodes now looks better than what is there."""
        than = self._decoded_by
        is_better = than is None or TIERS.index(tier.name) > TIERS.index(than)
        return tier if is_behind or is_better else None

    def _clean(self, rows: int, cols: int) -> NDArray[np.uint8]:
        """Paper for a grid of tokens."""
        side = self._painter.pixels_per_token
        return np.full((rows * side, cols * side, 3), PAPER, np.uint8)


class PictureView(_Canvas[int]):
    """One picture."""

    def __init__(self, painter: Painter, picture: Picture) -> None:
        super().__init__(painter, 0, 0)
        self._picture = picture
        self._told = 0  # rows

    def show(self, index: int, picture: Picture) -> bool:
        held = picture.rows_held
        if not held:
            return True
        self._painter.check(picture)
        self._told = held
        palette = self._painter.palette
        if palette is not None and self._shown < held:
            new = picture.ids[self._shown : held]
            self._put(palette.decode(new[None])[0], self._shown)
            self._shown = held
        return self._shown >= held

    def due(self, is_last: bool) -> Tier | None:
        is_whole = is_last or self._picture.complete
        tier = self._painter.tier(is_whole)
        if tier is None or not self._told:
            return None
        return self._better(tier, is_behind=self._decoded < self._told)

    def is_final(self) -> bool:
        return self._is_final(self._picture.rows_held)

    def work(self, tier: Tier) -> tuple[str, int, NDArray[np.uint8]]:
        grid = self._picture.grid  # rows are only ever added, whole, before they are counted
        return tier.name, len(grid), tier.decoder.paint(grid, self._picture.recipe.rows)

    def take(self, result: tuple[str, int, NDArray[np.uint8]]) -> None:
        self._decoded_by, self._decoded, pixels = result
        self._put(pixels[: self._decoded * self._painter.pixels_per_token], 0)
        self._shown = max(self._shown, self._decoded)

    def _put(self, pixels: NDArray[np.uint8], row: int) -> None:
        side, recipe = self._painter.pixels_per_token, self._picture.recipe
        if self._canvas is None:
            self._canvas = self._clean(recipe.rows, recipe.cols)
        self._canvas[row * side : row * side + len(pixels)] = pixels
        self._image = None


class MosaicView(_Canvas[dict[int, int]]):
    """The pictures of a seamless request, joined."""

    def __init__(self, painter: Painter, images: int) -> None:
        super().__init__(painter, {}, {})
        self._mosaic = Mosaic(images)  # used by `work` alone
        self._pictures: dict[int, Picture] = {}
        self._told: dict[int, int] = {}  # rows of each

    def show(self, index: int, picture: Picture) -> bool:
        self._pictures[index] = picture
        held = picture.rows_held
        if not held:
            return True
        self._painter.check(picture)
        self._told[index] = held
        if self._painter.palette is not None:
            self._paint_at_once(index)
        return self._shown.get(index, 0) >= held

    def due(self, is_last: bool) -> Tier | None:
        complete = [each.complete for each in self._pictures.values()]
        is_whole = is_last or (len(complete) == self._mosaic.images and all(complete))
        tier = self._painter.tier(is_whole)
        if tier is None or not self._told:
            return None
        is_behind = any(self._decoded.get(n, 0) < rows for n, rows in self._told.items())
        return self._better(tier, is_behind)

    def is_final(self) -> bool:
        return self._is_final(self._held())

    def work(self, tier: Tier) -> tuple[str, dict[int, int], NDArray[np.uint8]]:
        held = self._held()  # what arrives meanwhile may be decoded too, and counts as not
        for index, picture in [*self._pictures.items()]:
            self._mosaic.place(index, picture)
        image = self._mosaic.paint(tier.decoder)
        return tier.name, held, np.array(image)

    def take(self, result: tuple[str, dict[int, int], NDArray[np.uint8]]) -> None:
        self._decoded_by, self._decoded, self._canvas = result
        self._image = None
        shown, self._shown = self._shown, dict(self._decoded)
        for index, rows in shown.items():
            if rows > self._shown.get(index, 0):
                self._paint_at_once(index)

    def _held(self) -> dict[int, int]:
        return {n: each.rows_held for n, each in [*self._pictures.items()] if each.rows_held}

    def _paint_at_once(self, index: int) -> None:
        """The rows of a picture that are not shown yet, by the palette."""
        palette, picture = self._painter.palette, self._pictures[index]
        first, held = self._shown.get(index, 0), picture.rows_held
        if palette is None or first >= held:
            return
        side, recipe, mosaic = palette.pixels_per_token, picture.recipe, self._mosaic
        if self._canvas is None:
            height, width = mosaic.rows * recipe.rows, mosaic.columns * recipe.cols
            self._canvas = self._clean(height, width)
        row, column = divmod(index, mosaic.columns)
        top = (row * recipe.rows + first) * side
        left = column * recipe.cols * side
        pixels = palette.decode(picture.ids[None, first:held])[0]
        place = self._canvas[top : top + len(pixels), left : left + pixels.shape[1]]
        if place.shape == pixels.shape:  # else of another grid size: the mosaic will refuse it
            place[...] = pixels
        self._shown[index] = held
        self._image = None
