"""Similarity of two pictures: PSNR and SSIM."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [height, width, 3]

WHITE: Final = 255.0
LEAST_ERROR: Final = 1e-12  # of white's square: equal pictures have 120 dB
# Structural similarity as in Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from
# error visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004,
# section III: a Gaussian window of 11 x 11 pixels with a deviation of 1.5, K1 0.01, K2 0.03.
DEVIATION: Final = 1.5
RADIUS: Final = 5
K1, K2 = 0.01, 0.03


def psnr(picture: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio in dB; of equal pictures that of an error of 1 in a million."""
    error = np.square(picture.astype(np.float64) - reference).mean()
    return float(10 * np.log10(WHITE**2 / max(error, WHITE**2 * LEAST_ERROR)))


def ssim(picture: Picture, reference: Picture) -> float:
    """Mean structural similarity, 1 for equal pictures.

    Over red, green and blue, and over all pixels: edges are mirrored, so that a picture may be
    lower than the window.
    """
    first, second = (each.astype(np.float64) for each in (picture, reference))
    mean_first, mean_second = _blurred(first), _blurred(second)
    product = mean_first * mean_second
    squares = np.square(mean_first), np.square(mean_second)
    variances = _blurred(np.square(first)) - squares[0] + _blurred(np.square(second)) - squares[1]
    covariance = _blurred(first * second) - product
    c1, c2 = (K1 * WHITE) ** 2, (K2 * WHITE) ** 2
    luminance = (2 * product + c1) / (squares[0] + squares[1] + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def _blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[height, width, 3], seen through the window."""
    places = np.arange(-RADIUS, RADIUS + 1)
    window = np.exp(-0.5 * np.square(places / DEVIATION))
    window /= window.sum()
    for axis in (0, 1):
        margin = [(RADIUS, RADIUS) if each == axis else (0, 0) for each in range(3)]
        wide = np.pad(values, margin, mode="symmetric")
        values = np.lib.stride_tricks.sliding_window_view(wide, len(window), axis) @ window
    return values
