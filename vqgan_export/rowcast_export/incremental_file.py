"""The incremental decoder as an ONNX file: how it is written and what it says of itself.

`incremental.onnx`: opset 18 of ai.onnx and nothing else, fp32, weights inside. What it computes is
told in `incremental.py`. Inputs and outputs, by name (p: pixels per token; batch, rows, cols and
lines are free):

================ ============================= =====================================================
`ids`            int64 [batch, rows, cols]     all rows so far
`window`         int64 [lines]                 numbers of the half rows to decode, rising to the last
`leaving`        int64 [1]                     how many of them the next update will not decode
`carried`        [batch, 2, groups]            zeros, or `carried_next` of the update before
`cache_N`        [batch, channels, 1, s * cols] zeros, or `cache_N_next` of the update before
`pixels`         [batch, 3, lines*p/2, cols*p] of the window; white is 1; not clipped
`coarse`         [batch, 3, rows, cols]        what its change adds to the rows above the window
================ ============================= =====================================================

From `held` rows to `rows` with r redone half rows: the window is max(0, 2 held - r) .. 2 rows - 1,
and leaving is max(0, 2 rows - r) less the window's first. Pixels above the window are those of the
update before, plus the change of `coarse`, interpolated linearly between the centres of tokens.

`metadata_props` has the entries of a full decoder (`export.py`) with the kind "incremental", and

============================== =================================================================
`rowcast.redone_half_rows`     r
`rowcast.caches`               JSON: [[channels, s], …], in order
`rowcast.carried_groups`       groups
`rowcast.norm_statistics`      where the band's norms get mean and variance from
`rowcast.self_test`            JSON: `SelfTest`
============================== =================================================================

This module must not know about the command line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from rowcast_export.export import FORMAT_VERSION, _silence, _strip, with_metadata
from rowcast_export.incremental import REDONE_HALF_ROWS, IncrementalModule, Window
from rowcast_export.runtime import Ids
from rowcast_export.self_test import TOLERANCE, fixed_ids, thumbnail
from rowcast_export.settings import OPSETS
from rowcast_export.vqgan import VQGANDecoder

FILE_NAME: Final = "incremental.onnx"
NORM_STATISTICS: Final = (
    "trunk: rows so far, exact; band: window as decoded, rows above it as the coarse band "
    "plus their difference from it when they left the window"
)
TEST_ROWS: Final = 8
TEST_COLS: Final = 4
TEST_UPDATES: Final = (3, 5, 8)  # rows after each: something is redone, cached and carried
THUMBNAIL_SIDE: Final = 4

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]  # [height, width, 3]
