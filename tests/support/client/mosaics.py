"""Mosaics put together slowly, and their pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def joined(each: NDArray[np.integer], columns: int) -> NDArray[np.integer]:
    """[count, rows, cols] -> one grid, row by row of pictures: the slow reference."""
    bands = [each[first : first + columns] for first in range(0, len(each), columns)]
    return np.concatenate([np.concatenate(list(band), axis=1) for band in bands])


def pixels(image: Image.Image | None) -> NDArray[np.uint8]:
    assert image is not None
    return np.asarray(image)
