"""Stored tensors: an opened checkpoint file, its tensors not read yet.

All readers of this package give these, and raise ``CheckpointError`` for what cannot be read. This
module must not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from rowcast.errors import RowcastError

Array = NDArray[np.generic]

FLOATS: Final = (ml_dtypes.bfloat16, np.float16, np.float32, np.float64)
WHOLES: Final = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_)
DTYPES: Final = {dtype.name: dtype for dtype in map(np.dtype, (*FLOATS, *WHOLES))}  # of tensors
FLOATING: Final = frozenset(map(np.dtype, FLOATS))
READABLE: Final = "save it as float32, float16 or bfloat16"
UNREADABLE: Final = np.dtype(np.void)


class CheckpointError(RowcastError):
    """A checkpoint that cannot be used; the message names the file and says what was found."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: its shape and dtype, and the function that reads it.

    ``read`` gives it as the file holds it: wherever possible a view of the mapped file, in any
    memory order and alignment, not to be written to. Of dtype ``UNREADABLE``, it raises
    CheckpointError.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]


@dataclass(frozen=True)
class StoredCheckpoint:
    """An opened file. A tensor is read when it is asked for: nobody pays for an encoder."""

    path: Path
    container: str  # what kind of file it is, in words
    tensors: Mapping[str, StoredTensor]
    notes: Mapping[str, str] = field(default_factory=dict)  # what the file says of itself
    shards: Mapping[str, Path] = field(default_factory=dict)  # where each tensor lies, if so


def mapped(
    what: str, data: memoryview, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> StoredTensor:
    """A view of ``data``. ``what`` names file and tensor, in case numpy has no such array.

    Numbers in files are larger than numpy's: 65 axes of length 1, or 0 rows of 2^63 columns.
    """
    try:
        array: Array = np.ndarray(shape, dtype, data, offset)
    except (ValueError, TypeError, OverflowError) as error:
        return unreadable(f"{what} has the shape {str(list(shape))[:200]}: {error}")
    return StoredTensor(array.shape, dtype, lambda: array)


def unreadable(why: str) -> StoredTensor:
    """A tensor that raises CheckpointError when it is read: nobody may want it."""

    def read() -> Array:
        raise CheckpointError(why)

    return StoredTensor((), UNREADABLE, read)
