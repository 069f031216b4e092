"""safetensors files: checked by the library, then each tensor is a view of the mapped file.

The library's own reading copies a tensor whole. Format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from .stored import (
    DTYPES,
    READABLE,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
    mapped,
    unreadable,
)

LONGEST_HEADER: Final = 100_000_000  # bytes; the limit of the library
NOTES: Final = "__metadata__"
TYPES: Final = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}  # before the bits


def is_safetensors(head: bytes) -> bool:
    """True if eight bytes of little-endian header length come first, then a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER


def open_safetensors(path: Path) -> StoredCheckpoint:
    """Open a file. Raises CheckpointError unless its tensors cover it exactly (is it cut?)."""
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: a safetensors file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {error}); fetch it again"
        ) from error
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(str(data[8 : 8 + length], "utf-8"))
    notes = header.pop(NOTES, None) or {}
    tensors = {
        name: _tensor(path, name, entry, data[8 + length :]) for name, entry in header.items()
    }
    return StoredCheckpoint(path, "safetensors file", tensors, notes)


def _tensor(path: Path, name: str, entry: dict[str, Any], data: memoryview) -> StoredTensor:
    letters = entry["dtype"].rstrip("0123456789")
    bits = entry["dtype"].removeprefix(letters)
    dtype = DTYPES.get(TYPES.get(letters, letters.lower()) + bits)
    if dtype is None:
        return unreadable(f"{path}: the tensor {name} is of type {entry['dtype']}; {READABLE}")
    what = f"{path}: the tensor {name}"
    return mapped(what, data, entry["data_offsets"][0], dtype, tuple(entry["shape"]))
