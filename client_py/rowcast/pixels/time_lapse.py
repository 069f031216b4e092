"""Painting of saved pictures: as far as they came, and as a time-lapse, row by row.

The frames are cut out of the last picture, so one decode makes them all: as near to it as a preview
shows a picture that forms, and nearer than decodes of the rows so far.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..picture import Picture
from .palette import PAPER
from .tiers import Decoder


def final_image(picture: Picture, decoder: Decoder) -> Image.Image:
    """The rows held, decoded at once, and paper below them. Raises DetokenizerError."""
    return Image.fromarray(decoder.paint(picture.grid, picture.recipe.rows))


def time_lapse(picture: Picture, decoder: Decoder) -> Iterator[Image.Image]:
    """The picture with one, two, … all of its rows, as it came into sight; one decode."""
    if picture.rows_held == 0:
        return iter(())
    side, whole = decoder.pixels_per_token, final_image(picture, decoder)
    return revealed(whole, picture.rows_held, side, picture.recipe.rows)


def revealed(picture: Image.Image, rows: int, side: int, high: int) -> Iterator[Image.Image]:
    """Frames with one, two, … ``rows`` rows of tokens of every ``high``, paper for the others.

    A token has ``side`` pixels. ``picture`` may be several pictures below each other.
    """
    whole = np.asarray(picture)
    row_of = np.arange(len(whole)) // side % high  # of each line of pixels, in its picture
    for held in range(1, rows + 1):
        frame = whole.copy()
        frame[row_of >= held] = PAPER
        yield Image.fromarray(frame)
