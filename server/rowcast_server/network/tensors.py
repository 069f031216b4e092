"""The tensors of a file by name, each read on demand, so that a file is never in memory whole.

Knows neither file formats (the exporter's `formats` does) nor the tensors' meaning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rowcast_export.formats import Array as Array
from rowcast_export.formats import StoredTensor as StoredTensor


class Tensors(Mapping[str, NDArray[np.float32]]):
    """A mapping of names to tensors, each read and converted to float32 on access.

    ``stored`` reads it as the file holds it; ``shape`` and ``dtype`` cost nothing.
    """

    def __init__(self, path: Path, entries: Mapping[str, StoredTensor]) -> None:
        self.path = path
        self.entries = entries

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.stored(name), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def stored(self, name: str) -> Array:
        return self.entries[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.entries[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        return self.entries[name].dtype

    @property
    def elements(self) -> int:
        return sum(int(np.prod(tensor.shape)) for tensor in self.entries.values())

    def digest(self) -> bytes:
        """SHA-256 over names, shapes, dtypes and values: the same whatever the file's format."""
        digest = hashlib.sha256()
        for name in sorted(self.entries):
            tensor = self.entries[name]
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
    """The shape of a tensor, without reading it from its file."""
    return weights.shape(name) if isinstance(weights, Tensors) else weights[name].shape


def as_stored(weights: Mapping[str, NDArray[np.floating]], name: str) -> Array:
    """The tensor as it is stored, without a copy in another dtype."""
    return weights.stored(name) if isinstance(weights, Tensors) else weights[name]
