"""Named tensors of a file, each read when it is asked for, so that a file is never in memory whole.

Knows nothing of file formats (see checkpoints.py) or of what the tensors mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: what is known beforehand, and how it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]  # may be a view of the mapped file, in any memory order


class Tensors(Mapping[str, NDArray[np.float32]]):
    """The tensors of a file by name. Asked for, a tensor is read and becomes float32.

    ``stored`` reads it as the file holds it; ``shape`` and ``dtype`` cost nothing.
    """

    def __init__(self, path: Path, tensors: Mapping[str, StoredTensor]) -> None:
        self.path = path
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.stored(name), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def stored(self, name: str) -> Array:
        return self._tensors[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        return self._tensors[name].dtype

    def renamed(self, names: Mapping[str, str]) -> Tensors:
        """The tensors of ``names`` (old to new) alone, under their new names."""
        return Tensors(self.path, {new: self._tensors[old] for old, new in names.items()})

    @property
    def elements(self) -> int:
        return sum(int(np.prod(tensor.shape)) for tensor in self._tensors.values())

    def digest(self) -> bytes:
        """SHA-256 over names, shapes, dtypes and values: the same whatever the file's format."""
        digest = hashlib.sha256()
        for name in sorted(self._tensors):
            tensor = self._tensors[name]
            digest.update(f"{name} {tensor.shape} {tensor.dtype}\n".encode())
            for block in blocks(tensor.read()):
                digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        return digest.digest()


BLOCK_BYTES = 1 << 24


def blocks(array: Array) -> Iterator[Array]:
    """The array in pieces of whole first-axis entries, about 16 MiB each, in order."""
    if array.nbytes <= BLOCK_BYTES or array.ndim == 0:
        yield array
        return
    rows = max(1, BLOCK_BYTES * len(array) // array.nbytes)
    for first in range(0, len(array), rows):
        yield array[first : first + rows]


def shape_of(weights: Mapping[str, NDArray[np.floating]], name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it where that can be had."""
    return weights.shape(name) if isinstance(weights, Tensors) else weights[name].shape


def as_stored(weights: Mapping[str, NDArray[np.floating]], name: str) -> Array:
    """The tensor as it lies, without a copy in another dtype."""
    return weights.stored(name) if isinstance(weights, Tensors) else weights[name]
