"""The canvas: the pixels of a request's picture, or of its mosaic, and the tier to improve them.

A row is put on the canvas by the palette the moment it is known, and painted over by a decoder
later. `show` and what `work` returns are called by whoever tells events; `work` itself may take as
long as a decode, runs in any thread, and changes nothing here: so there are no locks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..events import Event
from ..picture import Picture
from .loader import TierLoader
from .mosaic import Mosaic
from .palette import PAPER
from .tiers import TIERS, Tier

Rows = dict[int, int]  # by the picture's place; without those of which there is none


class Canvas:
    """The image of the events of ``images`` pictures, joined; mostly of one picture alone."""

    def __init__(self, loader: TierLoader, images: int = 1) -> None:
        self.turn = 0  # when it was decoded last, to be fair to the others
        self.newest: Event | None = None  # the last event that was told of it
        self.is_repainted = False  # since then
        self._loader = loader
        self._mosaic = Mosaic(images)  # painted by `work` alone
        self._pictures: dict[int, Picture] = {}
        self._told: Rows = {}
        self._shown: Rows = {}
        self._decoded: Rows = {}
        self._decoded_by: str | None = None
        self._pixels: NDArray[np.uint8] | None = None
        self._image: Image.Image | None = None

    @property
    def image(self) -> Image.Image | None:
        """All rows that can be shown; None before the first."""
        if self._image is None and self._pixels is not None:
            self._image = Image.fromarray(self._pixels)  # a copy
        return self._image

    @property
    def tier(self) -> str | None:
        """The name of the tier that painted the newest rows of the image."""
        if self._pixels is None:
            return None
        return self._decoded_by if self._decoded == self._shown else "palette"

    def show(self, place: int, picture: Picture) -> bool:
        """Paint rows by the palette, if it is there; True if all rows held are in the image."""
        self._pictures[place] = picture
        if picture.rows_held:
            self._loader.check(picture)
            self._told[place] = picture.rows_held
            self._paint_at_once(place)
        return self._shown.get(place, 0) >= picture.rows_held

    def due(self, is_last: bool) -> Tier | None:
        """The tier to decode it with now; None if it cannot look better."""
        complete = [each.complete for each in self._pictures.values()]
        is_whole = is_last or (len(complete) == self._mosaic.images and all(complete))
        tier = self._loader.tier(is_whole)
        if tier is None or not self._told:
            return None
        is_behind = any(self._decoded.get(n, 0) < rows for n, rows in self._told.items())
        than = self._decoded_by
        is_better = than is None or TIERS.index(tier.name) > TIERS.index(than)
        return tier if is_behind or is_better else None

    def is_final(self) -> bool:
        """True if all its rows are painted as finished pictures are."""
        held, last = self._held(), self._loader.last_name
        if last == "palette":
            return self._shown == held
        return not held or (self._decoded == held and self._decoded_by == last)

    def work(self, tier: Tier) -> Callable[[], None]:
        """Decode the newest state; returns the function that puts the pixels on the canvas.

        Raises DetokenizerError.
        """
        held = self._held()  # rows that arrive meanwhile may be decoded too, and do not count
        for place, picture in [*self._pictures.items()]:
            self._mosaic.place(place, picture)
        pixels = np.array(self._mosaic.paint(tier.decoder))
        return lambda: self._take(tier.name, held, pixels)

    def _take(self, name: str, rows: Rows, pixels: NDArray[np.uint8]) -> None:
        self._decoded_by, self._decoded, self._pixels = name, rows, pixels
        self._image = None
        self.is_repainted = self.newest is not None
        self._shown = dict(rows)
        for place in self._told:
            self._paint_at_once(place)

    def _held(self) -> Rows:
        return {n: each.rows_held for n, each in [*self._pictures.items()] if each.rows_held}

    def _paint_at_once(self, place: int) -> None:
        """Paint the rows of a picture that were told and are not shown yet by the palette."""
        palette, picture = self._loader.palette, self._pictures[place]
        first, told = self._shown.get(place, 0), self._told[place]
        if palette is None or first >= told:
            return
        side, recipe, mosaic = palette.pixels_per_token, picture.recipe, self._mosaic
        if self._pixels is None:
            height, width = mosaic.rows * recipe.rows, mosaic.columns * recipe.cols
            self._pixels = np.full((height * side, width * side, 3), PAPER, np.uint8)
        row, column = divmod(place, mosaic.columns)
        top = (row * recipe.rows + first) * side
        left = column * recipe.cols * side
        pixels = palette.decode(picture.ids[None, first:told])[0]
        area = self._pixels[top : top + len(pixels), left : left + pixels.shape[1]]
        if area.shape == pixels.shape:  # else of another grid size: the mosaic will refuse it
            area[...] = pixels
        self._shown[place] = told
        self._image = None
