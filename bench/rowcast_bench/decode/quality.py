"""Quality of a scheme: PSNR and SSIM against full decodes of the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.detokenizer import Detokenizer

from .schemes import Scheme
from .similarity import psnr, ssim


@dataclass(frozen=True)
class Quality:
    """Medians over all pictures and updates, unless told otherwise; decibels of 255.

    ``psnr_db``, ``ssim``: against a full decode of the rows so far. ``…_of_final``: against those
    rows of the final picture, before the last update. ``…_of_whole``: of the last update alone.
    ``…_worst``: the least instead of the median.
    """

    psnr_db: float
    psnr_db_by_update: list[float]  # medians over the pictures
    ssim: float
    psnr_db_of_final: float
    psnr_db_of_whole: float
    psnr_db_of_whole_worst: float


def qualities(
    schemes: Sequence[Scheme],
    detokenizer: Detokenizer,
    grids: NDArray[np.integer],
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Quality]:
    """Quality of each scheme by name, on ``grids`` [pictures, rows, cols], with the full decoder.

    ``advance`` is called with every picture. Raises DetokenizerError for ids that are not the
    model's.
    """
    seen: dict[str, list[tuple[float, float, float]]] = {scheme.name: [] for scheme in schemes}
    for grid in grids:
        final = detokenizer.decode(grid[None])[0]
        for held in range(1, len(grid) + 1):
            due = [scheme for scheme in schemes if held % scheme.every == 0]
            whole = detokenizer.decode(grid[None, :held])[0] if due else final
            for scheme in due:
                shown = scheme.paint(grid[:held])
                near, of_final = psnr(shown, whole), psnr(shown, final[: len(shown)])
                seen[scheme.name].append((near, ssim(shown, whole), of_final))
        advance()
    return {name: _quality(np.reshape(each, (len(grids), -1, 3))) for name, each in seen.items()}


def _quality(values: NDArray[np.float64]) -> Quality:
    """All that was seen [pictures, updates, 3] of one scheme, summed up."""
    near, similar, of_final = np.moveaxis(values, -1, 0)
    # The last full decode is the final picture itself.
    before_last = slice(None, -1) if near.shape[1] > 1 else slice(None)
    return Quality(
        psnr_db=float(np.median(near)),
        psnr_db_by_update=[round(float(value), 1) for value in np.median(near, axis=0)],
        ssim=float(np.median(similar)),
        psnr_db_of_final=float(np.median(of_final[:, before_last])),
        psnr_db_of_whole=float(np.median(near[:, -1])),
        psnr_db_of_whole_worst=float(near[:, -1].min()),
    )
