"""The frames of a time-lapse: a picture that comes into sight row by row.

They are cut out of the last picture, so one decode makes them all: as near to it as a preview shows
a picture that forms, and nearer than decodes of the rows so far.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from .palette import PAPER


def revealed(picture: Image.Image, rows: int, side: int, high: int) -> Iterator[Image.Image]:
    """One, two, … ``rows`` rows of tokens, each of ``side`` pixels, of every ``high`` rows of
    ``picture``: it may be several pictures below each other. Paper stands in for the others."""
    whole = np.asarray(picture)
    row_of = np.arange(len(whole)) // side % high  # of each line of pixels, in its picture
    for held in range(1, rows + 1):
        frame = whole.copy()
        frame[row_of >= held] = PAPER
        yield Image.fromarray(frame)
