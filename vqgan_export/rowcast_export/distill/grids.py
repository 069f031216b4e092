"""Training data: grids of token ids that a model drew, as ``rowcast grids`` keeps them.

A ``.npz`` with ``ids``, unsigned [pictures, rows, cols], and ``about``, JSON with the size of the
codebook; or a ``.npy`` with such ids alone. This module must not know torch, nor what is learnt
from grids.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import GridsError

Ids = npt.NDArray[np.int64]  # [pictures, rows, cols]

FEWEST: Final = 8  # some of them are held out


@dataclass(frozen=True)
class Grids:
    """Grids of one size; ``sha256`` is over that size and the ids, however the file holds them."""

    ids: Ids
    sha256: str


def read_grids(path: Path, codebook_size: int) -> Grids:
    """Read a file. Raises OSError, or GridsError for no grids, too few, or another codebook's."""
    try:
        with path.open("rb") as file:  # NumPy leaves one open that it opened and cannot read
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                ids, told = stored, None
            else:
                ids = stored["ids"]
                told = _codebook_size(stored["about"].tobytes()) if "about" in stored else None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise GridsError(
            f"{path} is no file of grids, or is damaged ({error}); draw some anew"
        ) from error
    if ids.ndim != 3 or ids.dtype.kind not in "iu" or 0 in ids.shape[1:]:
        raise GridsError(
            f"{path}: grids are whole numbers [pictures, rows, cols], not {ids.dtype} "
            f"{list(ids.shape)}"
        )
    if len(ids) < FEWEST:
        raise GridsError(
            f"{path} holds {len(ids)} grids; at least {FEWEST} are needed, better 2000"
        )
    if told is not None and told != codebook_size:
        raise GridsError(
            f"{path} was drawn with a codebook of {told}, the decoder has {codebook_size} codes: "
            "draw grids with its model"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= codebook_size:
        raise GridsError(
            f"{path} holds the id {low if low < 0 else high}, the decoder has {codebook_size} "
            "codes: draw grids with its model"
        )
    whole: Ids = np.ascontiguousarray(ids, dtype=np.int64)
    digest = hashlib.sha256(repr(whole.shape).encode() + whole.astype("<i8").tobytes())
    return Grids(whole, digest.hexdigest())


def _codebook_size(about: bytes) -> int:
    """Size of the codebook in ``about``. Raises KeyError or ValueError (JSON, Unicode)."""
    told = json.loads(about)
    if not isinstance(told, dict):
        raise ValueError("its description is no map")
    return int(told["codebook_size"])
