"""Flax's `flax_model.msgpack`: nested maps whose leaves are arrays, read without being unpacked.

Only what flax writes is understood, and it is walked in place on the mapped file: a claimed length
that the file does not have is an error before anything is allocated, and a map of a million empty
maps is an error too. Source: flax.serialization (msgpack extension 1: shape, dtype, bytes).
"""

from __future__ import annotations

import math
import mmap
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from rowcast_export.formats.checkpoint import CheckpointError, Read, Stored

DEEPEST: Final = 16  # maps within maps; real files have 6
MOST_ENTRIES: Final = 100_000  # of all maps together; real files have some hundreds
LONGEST_KEY: Final = 256  # bytes
MOST_AXES: Final = 8
ARRAY: Final = 1  # msgpack extension types of flax.serialization
SCALAR: Final = 3
CHUNKED: Final = "__msgpack_chunked_array__"

DTYPES: Final = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}


def is_flax(head: bytes) -> bool:
    """A map that is not empty, and then a string."""
    if len(head) < 6:
        return False
    start = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
    return bool(start) and (0xA1 <= head[start] <= 0xBF or head[start] in (0xD9, 0xDA))


def open_flax(path: Path) -> Stored:
    """The arrays of a file under dotted names. Raises CheckpointError."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    reader = _Reader(path, data)
    reader.walk()
    return Stored(path, "flax msgpack", reader.tensors)


class _Reader:
    """A position in the file and the name of the tensor that it belongs to."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.data = data
        self.position = 0
        self.name = ""
        self.entries = 0
        self.tensors: dict[str, Read] = {}

    def walk(self) -> None:
        """The whole file."""
        self._value("", 0)
        if self.position != len(self.data):
            raise self._error(f"{len(self.data) - self.position} bytes are left over at its end")

    def _value(self, name: str, depth: int) -> None:
        """One value: a map is entered, an array noted, anything else passed by."""
        self.name = name
        tag = self._number(1)
        match tag:
            case _ if 0x80 <= tag <= 0x8F:
                self._map(name, depth, tag & 0x0F)
            case 0xDE | 0xDF:
                self._map(name, depth, self._number(2 if tag == 0xDE else 4))
            case 0xC7 | 0xC8 | 0xC9:
                self._extension(name, self._number(1 << tag - 0xC7))
            case 0xD4 | 0xD5 | 0xD6 | 0xD7 | 0xD8:
                self._extension(name, 1 << tag - 0xD4)
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
        self.entries += count
        if depth >= DEEPEST or self.entries > MOST_ENTRIES:
            raise self._error(
                f"it is nested deeper than {DEEPEST} or has more than {MOST_ENTRIES} entries"
            )
        for _ in range(count):
            key = self._string()
            if key == CHUNKED:
                raise self._error("an array over 1 GiB, kept in pieces; no decoder has one")
            self._value(f"{name}.{key}" if name else key, depth + 1)

    def _extension(self, name: str, length: int) -> None:
        kind = self._number(1)
        end = self.position + len(self.data[self.position : self.position + length])
        if end - self.position != length:
            raise self._error("it is cut short")
        if kind in (ARRAY, SCALAR):
            self._array(name)
            if self.position != end:
                raise self._error("the array and its length disagree")
        self.position = end

    def _array(self, name: str) -> None:
        """(shape, dtype name, bytes): noted, to be read when somebody wants it."""
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
        if name in self.tensors:
            raise self._error("it occurs twice")
        self.tensors[name] = partial(_tensor, values, dtype, shape)

    def _shape(self) -> list[int]:
        tag = self._number(1)
        if not 0x90 <= tag <= 0x90 + MOST_AXES:
            raise self._error("an array without a shape")
        return [self._length() for _ in range(tag - 0x90)]

    def _length(self) -> int:
        """An unsigned integer."""
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


def _tensor(values: memoryview, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """A copy: the file keeps no alignment."""
    if not values:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(values), dtype=dtype).reshape(shape)
