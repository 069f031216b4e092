"""Flax checkpoints (``flax_model.msgpack``): nested maps of arrays, read in place.

Only what flax writes is understood, and it is walked in place on the mapped file: a claimed length
that the file does not have is an error before anything is allocated, and a map of a million empty
maps is an error too. Source: flax.serialization (msgpack extension 1: shape, dtype, bytes).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import ml_dtypes
import numpy as np

from .stored import (
    Array,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
    mapped,
)

DEEPEST: Final = 16  # maps within maps; real files have 6
MOST_ENTRIES: Final = 100_000  # of all maps together; real files have some hundreds
LONGEST_KEY: Final = 256  # bytes
MOST_AXES: Final = 8
ARRAY: Final = 1  # msgpack extension types of flax.serialization
SCALAR: Final = 3
CHUNKED: Final = "__msgpack_chunked_array__"  # the first key of a map that stands for an array

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
}

Found = TypeVar("Found")


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
    reader = _Reader(path, data)
    reader.walk()
    return StoredCheckpoint(path, "flax msgpack", reader.tensors)


class _Reader:
    """Recursive parser of the mapped file: a position, and the name of the tensor it belongs to."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.data = data
        self.position = 0
        self.name = ""
        self.entries = 0
        self.tensors: dict[str, StoredTensor] = {}

    def walk(self) -> None:
        """Parse the whole file into ``tensors``."""
        self._value("", 0)
        if self.position != len(self.data):
            raise self._error(f"{len(self.data) - self.position} bytes are left over at its end")

    def _value(self, name: str, depth: int) -> None:
        """Parse one value: a map is entered, an array noted, anything else skipped."""
        self.name = name
        tag = self._number(1)
        match tag:
            case _ if 0x80 <= tag <= 0x8F or tag in (0xDE, 0xDF):
                self._map(name, depth, self._entries(tag))
            case _ if 0xC7 <= tag <= 0xC9 or 0xD4 <= tag <= 0xD8:
                if array := self._extension(tag):
                    self._note(name, array)
            case 0xC4 | 0xC5 | 0xC6:
                self._take(self._number(1 << tag - 0xC4))
            case 0xD9 | 0xDA | 0xDB:
                self._take(self._number(1 << tag - 0xD9))
            case _ if 0xA0 <= tag <= 0xBF:
                self._take(tag & 0x1F)
            case 0xCA | 0xCB:
                self._take(4 << tag - 0xCA)
            case _ if 0xCC <= tag <= 0xD3:
                self._take(1 << (tag - 0xCC) % 4)
            case _ if tag <= 0x7F or tag >= 0xE0 or tag in (0xC0, 0xC2, 0xC3):
                pass  # a small number, nothing, no, yes
            case _:
                raise self._error(f"flax writes no value of kind {tag:#04x}")

    def _map(self, name: str, depth: int, count: int) -> None:
        if depth >= DEEPEST:
            raise self._error(f"it is nested deeper than {DEEPEST}")
        for index in range(count):
            key = self._string()
            if key == CHUNKED:
                if index or count != 3:
                    raise self._error(
                        "an array in pieces that has more to it than shape and pieces"
                    )
                self._note(name, self._pieces())
                return
            self._value(f"{name}.{key}" if name else key, depth + 1)

    def _entries(self, tag: int) -> int:
        """Number of a map's entries; those of all maps together are limited."""
        if 0x80 <= tag <= 0x8F:
            count = tag & 0x0F
        elif tag in (0xDE, 0xDF):
            count = self._number(2 if tag == 0xDE else 4)
        else:
            raise self._error("not a map")
        self.entries += count
        if self.entries > MOST_ENTRIES:
            raise self._error(f"it has more than {MOST_ENTRIES} entries")
        return count

    def _note(self, name: str, tensor: StoredTensor) -> None:
        if name in self.tensors:
            raise self._error("it occurs twice")
        self.tensors[name] = tensor

    def _pieces(self) -> StoredTensor:
        """An array over 1 GiB, which flax flattens and cuts: its shape, then its pieces."""
        self._take(1)  # yes
        shape = self._numbered("shape", MOST_AXES, self._length)
        pieces = self._numbered("chunks", MOST_ENTRIES, self._piece)
        if 0 in shape:
            raise self._error(f"an array in pieces of the shape {shape}")
        dtypes = {piece.dtype for piece in pieces}
        if len(dtypes) != 1 or any(len(piece.shape) != 1 for piece in pieces):
            raise self._error("an array in pieces that do not fit together")
        if (total := sum(piece.shape[0] for piece in pieces)) != math.prod(shape):
            raise self._error(f"{len(pieces)} pieces of {total} numbers for shape {shape}")
        return StoredTensor(tuple(shape), dtypes.pop(), partial(_joined, pieces, shape))

    def _numbered(self, key: str, most: int, read: Callable[[], Found]) -> list[Found]:
        """The values of a map from "0", "1", ... that stands under ``key``."""
        if self._string() != key:
            raise self._error(f"an array in pieces without its {key}")
        count = self._entries(self._number(1))
        if count > most:
            raise self._error(f"an array in pieces whose {key} has {count} entries")
        found = []
        for number in range(count):
            if self._string() != str(number):
                raise self._error(f"an array in pieces whose {key} lacks number {number}")
            found.append(read())
        return found

    def _piece(self) -> StoredTensor:
        if array := self._extension(self._number(1)):
            return array
        raise self._error("a piece that is not an array")

    def _extension(self, tag: int) -> StoredTensor | None:
        """A msgpack extension: an array, or None where it is another."""
        if 0xC7 <= tag <= 0xC9:
            length = self._number(1 << tag - 0xC7)
        elif 0xD4 <= tag <= 0xD8:
            length = 1 << tag - 0xD4
        else:
            raise self._error("not an array of flax")
        kind = self._number(1)
        end = self.position + len(self.data[self.position : self.position + length])
        if end - self.position != length:
            raise self._error("it is cut short")
        array = self._array() if kind in (ARRAY, SCALAR) else None
        if array and self.position != end:
            raise self._error("the array and its length disagree")
        self.position = end
        return array

    def _array(self) -> StoredTensor:
        """An array from (shape, dtype name, bytes): a view, read when it is used."""
        if self._number(1) != 0x93:
            raise self._error("not an array of flax")
        shape = self._shape()
        dtype_name = self._string()
        tag = self._number(1)
        if not 0xC4 <= tag <= 0xC6:
            raise self._error("an array without bytes")
        values = self._take(self._number(1 << tag - 0xC4))
        dtype = DTYPES.get(dtype_name)
        if dtype is None:
            raise self._error(f"an array of type {dtype_name}")
        if len(values) != math.prod(shape) * dtype.itemsize:
            raise self._error(f"{len(values)} bytes for shape {shape} of {dtype_name}")
        return mapped(f"{self.path}: the tensor {self.name}", values, 0, dtype, tuple(shape))

    def _shape(self) -> list[int]:
        tag = self._number(1)
        if not 0x90 <= tag <= 0x90 + MOST_AXES:
            raise self._error("an array without a shape")
        return [self._length() for _ in range(tag - 0x90)]

    def _length(self) -> int:
        """Parse an unsigned integer."""
        tag = self._number(1)
        if tag <= 0x7F:
            return tag
        if 0xCC <= tag <= 0xCF:
            return self._number(1 << tag - 0xCC)
        raise self._error("a shape that is not made of numbers")

    def _string(self) -> str:
        tag = self._number(1)
        if 0xA0 <= tag <= 0xBF:
            length = tag & 0x1F
        elif tag in (0xD9, 0xDA):
            length = self._number(1 << tag - 0xD9)
        else:
            raise self._error("a key that is not a string")
        if length > LONGEST_KEY:
            raise self._error(f"a key of {length} bytes")
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise self._error("a key that is not text") from error

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, size: int) -> memoryview:
        taken = self.data[self.position : self.position + size]
        if len(taken) != size:
            raise self._error("it is cut short")
        self.position += size
        return taken

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: a msgpack file that is damaged or cut short, at byte {self.position} of "
            f"{len(self.data)}, in {self.name or 'its first map'}: {what}"
        )


def _joined(pieces: list[StoredTensor], shape: list[int]) -> Array:
    """The array, copied: its pieces do not lie side by side."""
    return np.concatenate([piece.read() for piece in pieces]).reshape(shape)
