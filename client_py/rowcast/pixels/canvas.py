"""Canvases: the pixels of a picture, or of a mosaic, and the tier that would improve them.

A row is put on the canvas by the palette the moment it is known, and painted over by a decoder
later. `show` and what `work` returns are called by whoever tells events; `work` itself may take as
long as a decode, runs in any thread, and changes nothing here: so there are no locks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..events import Event
from ..picture import Picture
from .loader import TierLoader
from .mosaic import Mosaic
from .palette import PAPER
from .tiers import TIERS, Tier

Rows = TypeVar("Rows")


class Canvas(Protocol):
    """The image of the events of one picture, or of a whole mosaic."""

    turn: int  # when it was decoded last, to be fair to the others
    newest: Event | None  # the last event that was told of it
    is_repainted: bool  # since then

    @property
    def image(self) -> Image.Image | None:
        """All rows that can be shown; None before the first."""

    @property
    def tier(self) -> str | None:
        """The name of the tier that painted the newest rows of the image."""

    def show(self, index: int, picture: Picture) -> bool:
        """Paint rows by the palette, if it is there; True if all rows held are in the image."""

    def due(self, is_last: bool) -> Tier | None:
        """The tier to decode it with now; None if it cannot look better."""

    def is_final(self) -> bool:
        """True if all its rows are painted as finished pictures are."""

    def work(self, tier: Tier) -> Callable[[], None]:
        """Decode the newest state; returns the function that puts the pixels on the canvas.

        Raises DetokenizerError.
        """


class _Canvas(Generic[Rows]):
    """The state of both kinds of canvas; ``Rows`` counts rows, of one picture or of each."""

    def __init__(self, loader: TierLoader, shown: Rows, decoded: Rows) -> None:
        self.turn = 0
        self.newest: Event | None = None
        self.is_repainted = False
        self._loader = loader
        self._pixels: NDArray[np.uint8] | None = None
        self._image: Image.Image | None = None
        self._shown: Rows = shown
        self._decoded: Rows = decoded
        self._decoded_by: str | None = None

    @property
    def image(self) -> Image.Image | None:
        if self._image is None and self._pixels is not None:
            self._image = Image.fromarray(self._pixels)  # a copy
        return self._image

    @property
    def tier(self) -> str | None:
        if self._pixels is None:
            return None
        return self._decoded_by if self._decoded == self._shown else "palette"

    def _is_final(self, held: Rows) -> bool:
        last = self._loader.last_name
        if last == "palette":
            return self._shown == held
        return not held or (self._decoded == held and self._decoded_by == last)

    def _better(self, tier: Tier, is_behind: bool) -> Tier | None:
        """The tier, if its decode would look better than the canvas does."""
        than = self._decoded_by
        is_better = than is None or TIERS.index(tier.name) > TIERS.index(than)
        return tier if is_behind or is_better else None

    def _clean(self, rows: int, cols: int) -> NDArray[np.uint8]:
        """Paper for a grid of tokens."""
        side = self._loader.pixels_per_token
        return np.full((rows * side, cols * side, 3), PAPER, np.uint8)


class PictureCanvas(_Canvas[int]):
    """The canvas of one picture."""

    def __init__(self, loader: TierLoader, picture: Picture) -> None:
        super().__init__(loader, 0, 0)
        self._picture = picture
        self._told = 0  # rows

    def show(self, index: int, picture: Picture) -> bool:
        held = picture.rows_held
        if not held:
            return True
        self._loader.check(picture)
        self._told = held
        palette = self._loader.palette
        if palette is not None and self._shown < held:
            new = picture.ids[self._shown : held]
            self._put(palette.decode(new[None])[0], self._shown)
            self._shown = held
        return self._shown >= held

    def due(self, is_last: bool) -> Tier | None:
        is_whole = is_last or self._picture.complete
        tier = self._loader.tier(is_whole)
        if tier is None or not self._told:
            return None
        return self._better(tier, is_behind=self._decoded < self._told)

    def is_final(self) -> bool:
        return self._is_final(self._picture.rows_held)

    def work(self, tier: Tier) -> Callable[[], None]:
        grid = self._picture.grid  # rows are only ever added, whole, before they are counted
        pixels = tier.decoder.paint(grid, self._picture.recipe.rows)
        return lambda: self._take(tier.name, len(grid), pixels)

    def _take(self, name: str, rows: int, pixels: NDArray[np.uint8]) -> None:
        self._decoded_by, self._decoded = name, rows
        self._put(pixels[: rows * self._loader.pixels_per_token], 0)
        self._shown = max(self._shown, rows)

    def _put(self, pixels: NDArray[np.uint8], row: int) -> None:
        side, recipe = self._loader.pixels_per_token, self._picture.recipe
        if self._pixels is None:
            self._pixels = self._clean(recipe.rows, recipe.cols)
        self._pixels[row * side : row * side + len(pixels)] = pixels
        self._image = None


class MosaicCanvas(_Canvas[dict[int, int]]):
    """The canvas of all pictures of a seamless request, joined."""

    def __init__(self, loader: TierLoader, images: int) -> None:
        super().__init__(loader, {}, {})
        self._mosaic = Mosaic(images)  # used by `work` alone
        self._pictures: dict[int, Picture] = {}
        self._told: dict[int, int] = {}  # rows of each

    def show(self, index: int, picture: Picture) -> bool:
        self._pictures[index] = picture
        held = picture.rows_held
        if not held:
            return True
        self._loader.check(picture)
        self._told[index] = held
        if self._loader.palette is not None:
            self._paint_at_once(index)
        return self._shown.get(index, 0) >= held

    def due(self, is_last: bool) -> Tier | None:
        complete = [each.complete for each in self._pictures.values()]
        is_whole = is_last or (len(complete) == self._mosaic.images and all(complete))
        tier = self._loader.tier(is_whole)
        if tier is None or not self._told:
            return None
        is_behind = any(self._decoded.get(n, 0) < rows for n, rows in self._told.items())
        return self._better(tier, is_behind)

    def is_final(self) -> bool:
        return self._is_final(self._held())

    def work(self, tier: Tier) -> Callable[[], None]:
        held = self._held()  # rows that arrive meanwhile may be decoded too, and do not count
        for index, picture in [*self._pictures.items()]:
            self._mosaic.place(index, picture)
        pixels = np.array(self._mosaic.paint(tier.decoder))
        return lambda: self._take(tier.name, held, pixels)

    def _take(self, name: str, rows: dict[int, int], pixels: NDArray[np.uint8]) -> None:
        self._decoded_by, self._decoded, self._pixels = name, rows, pixels
        self._image = None
        shown, self._shown = self._shown, dict(rows)
        for index, count in shown.items():
            if count > self._shown.get(index, 0):
                self._paint_at_once(index)

    def _held(self) -> dict[int, int]:
        return {n: each.rows_held for n, each in [*self._pictures.items()] if each.rows_held}

    def _paint_at_once(self, index: int) -> None:
        """Paint the rows of a picture that are not shown yet by the palette."""
        palette, picture = self._loader.palette, self._pictures[index]
        first, held = self._shown.get(index, 0), picture.rows_held
        if palette is None or first >= held:
            return
        side, recipe, mosaic = palette.pixels_per_token, picture.recipe, self._mosaic
        if self._pixels is None:
            height, width = mosaic.rows * recipe.rows, mosaic.columns * recipe.cols
            self._pixels = self._clean(height, width)
        row, column = divmod(index, mosaic.columns)
        top = (row * recipe.rows + first) * side
        left = column * recipe.cols * side
        pixels = palette.decode(picture.ids[None, first:held])[0]
        place = self._pixels[top : top + len(pixels), left : left + pixels.shape[1]]
        if place.shape == pixels.shape:  # else of another grid size: the mosaic will refuse it
            place[...] = pixels
        self._shown[index] = held
        self._image = None
