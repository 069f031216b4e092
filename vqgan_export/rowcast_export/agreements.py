"""Measured agreement of a written file with what it stands for, as the manifest keeps it.

Plain records: this module must not know how anything is decoded or taught.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SMALLEST_SQUARE: Final = 255**2 * 1e-12  # pictures without a difference would be infinitely near


@dataclass(frozen=True)
class Agreement:
    """Agreement of an ONNX file with its torch module. Differences are the largest ones seen."""

    grids: int
    samples: int  # colour samples compared: pixels times three
    value_difference: float  # of the range 0..1
    byte_difference: int  # of 255
    bytes_equal_share: float
    bytes_within_one_share: float
    mean_square: float  # of the differences
    psnr: float  # dB


@dataclass(frozen=True)
class Imitation:
    """Peak signal-to-noise ratio of imitated pictures, on grids that were not taught.

    The full decoder's pictures are the truth: whole grids, uint8 pixels, decibels of 255.
    """

    grids: int
    psnr_db_median: float
    psnr_db_mean: float
    psnr_db_of_mean_square: float  # all pixels of all grids together

    @classmethod
    def of(cls, mean_squares: npt.NDArray[np.float64]) -> Imitation:
        """From the mean square of each picture's differences in uint8, [grids]."""
        decibels = 10 * np.log10(255**2 / np.maximum(mean_squares, SMALLEST_SQUARE))
        together = 10 * math.log10(255**2 / max(float(mean_squares.mean()), SMALLEST_SQUARE))
        return cls(len(mean_squares), float(np.median(decibels)), float(decibels.mean()), together)


@dataclass(frozen=True)
class PreviewAgreement(Agreement):
    """Agreement of a file with the small module, and of that with the full one."""

    imitation: Imitation


@dataclass(frozen=True)
class PaletteAgreement:
    """Agreement of a palette with codes decoded at full resolution on a wrapped grid."""

    codes: int
    byte_difference: int  # of 255, the largest


AnyAgreement = Agreement | PaletteAgreement | Imitation
