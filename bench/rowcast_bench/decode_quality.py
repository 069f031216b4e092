"""How near an incremental decoder's pictures come to full decodes of the same rows, and seams.

Works on files: the detokenizer and the incremental decoder of one model, and grids that the model
has drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rowcast.detokenizer import Detokenizer
from rowcast.incremental import IncrementalDecoder

Picture = NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True)
class IncrementalQuality:
    """Medians over all pictures and updates, unless told otherwise; decibels of 255."""

    psnr_db: float  # against a full decode of the rows so far
    psnr_db_by_update: list[float]  # medians over the pictures
    psnr_db_of_final: float  # against those rows of the final picture
    full_psnr_db_of_final: float  # the same of a full decode of the rows so far
    # Mean gradient across the boundaries of rows, by that inside of rows; and the same by that of
    # the full decodes, for what is in the pictures themselves.
    seam: float
    seam_of_full: float
    seam_beyond_full: float


def incremental_quality(
    full: Path, incremental: Path, grids: NDArray[np.integer], step: int = 1, threads: int = 1
) -> IncrementalQuality:
    """Paint `grids` [pictures, rows, cols], `step` rows an update.

    Raises DetokenizerError for a file that is none, or for ids that are not the model's.
    """
    detokenizer = Detokenizer(full, threads)
    decoder = IncrementalDecoder(incremental, threads, pictures=1)
    updates = list(range(step, grids.shape[1] + 1, step))
    near, near_final, full_final = (np.zeros((len(grids), len(updates))) for _ in range(3))
    seams: list[tuple[float, float]] = []
    full_seams: list[tuple[float, float]] = []
    for number, grid in enumerate(grids):
        final = detokenizer.decode(grid[None])[0]
        for index, rows in enumerate(updates):
            whole = detokenizer.decode(grid[None, :rows])[0]
            shown = decoder.paint(number, grid[:rows])
            near[number, index] = psnr(shown, whole)
            near_final[number, index] = psnr(shown, final[: len(shown)])
            full_final[number, index] = psnr(whole, final[: len(shown)])
            if rows > 1:
                seams.append(gradients(shown, decoder.pixels_per_token))
                full_seams.append(gradients(whole, decoder.pixels_per_token))
    # The last full decode is the final picture itself.
    before_last = slice(None, -1) if len(updates) > 1 else slice(None)
    seam, seam_of_full = _ratio(seams), _ratio(full_seams)
    return IncrementalQuality(
        psnr_db=float(np.median(near)),
        psnr_db_by_update=[round(float(value), 1) for value in np.median(near, axis=0)],
        psnr_db_of_final=float(np.median(near_final[:, before_last])),
        full_psnr_db_of_final=float(np.median(full_final[:, before_last])),
        seam=seam,
        seam_of_full=seam_of_full,
        seam_beyond_full=seam / seam_of_full,
    )


def psnr(picture: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio in dB; of equal pictures that of an error of 1 in a million."""
    error = np.square(picture.astype(np.float64) - reference).mean()
    return float(10 * np.log10(255**2 / max(error, 255**2 * 1e-12)))


def gradients(picture: Picture, side: int) -> tuple[float, float]:
    """Mean absolute differences of lines that meet at a boundary of token rows, and of others."""
    steps = np.abs(np.diff(picture.astype(np.float64), axis=0)).mean(axis=(1, 2))
    boundary = np.arange(1, len(picture)) % side == 0
    return float(steps[boundary].mean()), float(steps[~boundary].mean())


def _ratio(pairs: list[tuple[float, float]]) -> float:
    across, inside = np.array(pairs).mean(axis=0)
    return float(across / inside)
