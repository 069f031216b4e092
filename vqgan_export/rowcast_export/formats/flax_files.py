"""Flax checkpoints (``flax_model.msgpack``): nested maps of arrays, read in place.

A map is unpacked once its entries are counted, and what stands in it only in its turn: a file costs
no more memory than the names of its tensors, which are views of the mapped file. Source:
flax.serialization (msgpack extension 1: shape, dtype, bytes).
"""

from __future__ import annotations

import math
import mmap
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from .stored import (
    DTYPES,
    Array,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
    mapped,
)

DEEPEST: Final = 16  # maps within maps; real files have 6
MOST_ENTRIES: Final = 100_000  # of all maps together; real files have some hundreds
LONGEST_KEY: Final = 256  # characters
MOST_AXES: Final = 8
ARRAYS: Final = (1, 3)  # msgpack extension types of flax.serialization: an array, a scalar
CHUNKED: Final = "__msgpack_chunked_array__"  # a key of a map that stands for an array in pieces

Length = Annotated[int, msgspec.Meta(ge=0)]
Shape = Annotated[tuple[Length, ...], msgspec.Meta(max_length=MOST_AXES)]


def is_flax(head: bytes) -> bool:
    """True if the file begins with a map that is not empty, and then a string."""
    if len(head) < 6:
        return False
    start = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
    return bool(start) and (0xA1 <= head[start] <= 0xBF or head[start] in (0xD9, 0xDA))


def open_flax(path: Path) -> StoredCheckpoint:
    """The arrays of a file under dotted names. Raises CheckpointError."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    reader = _Reader(path)
    reader.walk("", data, 0)
    return StoredCheckpoint(path, "flax msgpack", reader.tensors)


class _Reader:
    """Walk through the maps of a file: the tensors found, and the number of entries so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = 0
        self.tensors: dict[str, StoredTensor] = {}

    def walk(self, name: str, data: memoryview, depth: int) -> None:
        """Enter a map, or note an array; anything else is left."""
        if not (0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF)):
            if array := self._array(name, data):
                self.tensors[name] = array
            return
        if depth >= DEEPEST:
            raise self._error(name, f"it is nested deeper than {DEEPEST}")
        entries = self._map(name, data)
        if CHUNKED in entries:
            self.tensors[name] = self._pieces(name, entries)
            return
        for key, value in entries.items():
            self.walk(f"{name}.{key}" if name else key, value, depth + 1)

    def _map(self, name: str, data: memoryview, most: int = MOST_ENTRIES) -> dict[str, memoryview]:
        """The entries of a map, themselves packed; those of all maps together are limited."""
        size = {0xDE: 2, 0xDF: 4}.get(data[0], 0)
        count = int.from_bytes(data[1 : 1 + size], "big") if size else data[0] & 0x0F
        self.entries += count
        if count > most or self.entries > MOST_ENTRIES:
            raise self._error(name, f"it has more than {most} entries")
        found: dict[str, msgspec.Raw] = self._decoded(name, data, dict[str, msgspec.Raw])
        if len(found) != count:
            raise self._error(name, "a name in it occurs twice")
        if (longest := max(map(len, found), default=0)) > LONGEST_KEY:
            raise self._error(name, f"a key of {longest} characters")
        return {key: memoryview(value) for key, value in found.items()}

    def _pieces(self, name: str, entries: dict[str, memoryview]) -> StoredTensor:
        """An array over 1 GiB, which flax flattens and cuts: its shape, then its pieces."""
        if entries.keys() != {CHUNKED, "shape", "chunks"}:
            raise self._error(name, "an array in pieces that has more to it than shape and chunks")
        values = self._numbered(name, entries["shape"], MOST_AXES)
        shape: list[int] = [self._decoded(name, value, Length) for value in values]
        chunks = self._numbered(name, entries["chunks"], MOST_ENTRIES)
        pieces = [piece for chunk in chunks if (piece := self._array(name, chunk))]
        if 0 in shape:
            raise self._error(name, f"an array in pieces of the shape {shape}")
        dtypes = {piece.dtype for piece in pieces}
        flat = len(pieces) == len(chunks) and all(len(piece.shape) == 1 for piece in pieces)
        if len(dtypes) != 1 or not flat:
            raise self._error(name, "an array in pieces that do not fit together")
        if (total := sum(piece.shape[0] for piece in pieces)) != math.prod(shape):
            raise self._error(name, f"{len(pieces)} pieces of {total} numbers for shape {shape}")
        return StoredTensor(tuple(shape), dtypes.pop(), partial(_joined, pieces, shape))

    def _numbered(self, name: str, data: memoryview, most: int) -> list[memoryview]:
        """The values of a map from "0", "1", …"""
        entries = self._map(name, data, most)
        if list(entries) != [str(index) for index in range(len(entries))]:
            raise self._error(name, "an array in pieces that are not numbered")
        return list(entries.values())

    def _array(self, name: str, data: memoryview) -> StoredTensor | None:
        """An array (shape, dtype name, bytes): a view, read when it is used; None if it is none."""
        if not (0xC7 <= data[0] <= 0xC9 or 0xD4 <= data[0] <= 0xD8):
            return None
        kind, content = self._decoded(name, data, Any)
        if kind not in ARRAYS:
            return None
        shape, dtype_name, values = self._decoded(name, content, tuple[Shape, str, memoryview])
        dtype = DTYPES.get(dtype_name)
        if dtype is None:
            raise self._error(name, f"an array of type {dtype_name:.80}")
        if len(values) != math.prod(shape) * dtype.itemsize:
            raise self._error(name, f"{len(values)} bytes for shape {list(shape)} of {dtype_name}")
        return mapped(f"{self.path}: the tensor {name}", values, 0, dtype, shape)

    def _decoded(self, name: str, data: memoryview, kind: Any) -> Any:
        """Unpack a value; an extension is its type and its bytes. Raises CheckpointError."""
        try:
            return msgspec.msgpack.decode(data, type=kind, ext_hook=lambda *found: found)
        except RecursionError as error:
            raise self._error(name, f"it is nested deeper than {DEEPEST}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(name, str(error)) from error

    def _error(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: a msgpack file that is damaged or cut short, in "
            f"{name[:LONGEST_KEY] or 'its first map'}: {what}"
        )


def _joined(pieces: list[StoredTensor], shape: list[int]) -> Array:
    """The array, copied: its pieces do not lie side by side."""
    return np.concatenate([piece.read() for piece in pieces]).reshape(shape)
