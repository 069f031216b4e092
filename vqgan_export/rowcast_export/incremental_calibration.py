"""Gains and offsets that make the moments of the coarse band those of the fine one.

Fitted by least squares, group by group, on grids that are decoded whole at several numbers of rows:
the model's own, where they are at hand, else a patchwork of random codes, which has large areas of
one colour as pictures do (`palette.py` uses the same). This module must not know about files.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from rowcast_export.incremental import Calibration, IncrementalModule
from rowcast_export.runtime import Ids
from rowcast_export.vqgan import VQGANDecoder

PICTURES: Final = 6
ROWS: Final = 16
PATCH: Final = 4  # tokens, the side of a square of one code
SEED: Final = 0
ROWS_SEEN: Final = (3, 5, 8, 12, 16)
RIDGE: Final = 0.05  # of the coarse moments' variance; draws the gain towards 1


def calibrate(decoder: VQGANDecoder, grids: Ids | None = None) -> Calibration:
    """Fit on `grids`, int64 [pictures, rows, cols], or on a patchwork of random codes.

    Takes about as long as decoding three quarters of the pictures four times. Raises ValueError for
    grids of fewer than 3 rows, NotIncremental as `IncrementalModule` does.
    """
    ids = torch.from_numpy(patchwork(decoder.shape.codebook_size) if grids is None else grids)
    seen = sorted({min(rows, ids.shape[1]) for rows in ROWS_SEEN})
    if ids.ndim != 3 or seen[0] < ROWS_SEEN[0]:
        raise ValueError(
            f"grids of shape {list(ids.shape)}: wanted [pictures, 3 rows or more, cols]"
        )
    module = IncrementalModule(decoder)
    fine, coarse = [], []
    with torch.no_grad():  # inference tensors cannot be traced
        for rows in seen:
            for index in range(len(ids)):  # one at a time: memory
                moments = module.moments(ids[index : index + 1, :rows])
                fine.append(moments[0])
                coarse.append(moments[1])
        return _fit(torch.cat(coarse, dim=1), torch.cat(fine, dim=1))


def patchwork(codebook_size: int) -> Ids:
    """Random codes in squares, int64 [pictures, rows, rows]."""
    side = ROWS // PATCH
    codes = np.random.default_rng(SEED).integers(0, codebook_size, (PICTURES, side, side))
    return codes.repeat(PATCH, axis=1).repeat(PATCH, axis=2)


def _fit(coarse: Tensor, fine: Tensor) -> Calibration:
    """Both [2, observations, groups]."""
    coarse_mean, fine_mean = coarse.mean(dim=1), fine.mean(dim=1)
    apart = coarse - coarse_mean[:, None]
    spread = apart.square().mean(dim=1)
    together = (apart * (fine - fine_mean[:, None])).mean(dim=1)
    ridge = RIDGE * spread + torch.finfo(spread.dtype).tiny
    gain = (together + ridge) / (spread + ridge)
    return Calibration(gain, fine_mean - gain * coarse_mean)
