"""Container formats of checkpoints, each recognised by its first bytes.

torch is imported where a file of torch's is opened, and nowhere else in this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from .flax_files import is_flax, open_flax
from .safetensors_files import is_safetensors, open_safetensors
from .sharded_files import is_index, open_sharded
from .stored import CheckpointError, StoredCheckpoint

HEAD_BYTES: Final = 64  # enough to recognise every container
ZIP: Final = b"PK\x03\x04"
PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")  # by its protocol
# The number with which torch begins its files older than 1.6; protocol 4 frames it.
TORCH_NUMBER: Final = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

# Files that turn up under a checkpoint's name, so that the error can say what they are.
KNOWN_HEADS: Final = (
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a single numpy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x08\x08\x12\x07pytorch", "an ONNX file, which is an export already"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was never downloaded"),
    (b"<!DOCTYPE", "a web page, perhaps a failed download"),
    (b"<html", "a web page, perhaps a failed download"),
)


@dataclass(frozen=True)
class Container:
    """A kind of file: a test of its first bytes, and its reader."""

    name: str
    recognises: Callable[[bytes], bool]
    open: Callable[[Path], StoredCheckpoint]


def open_checkpoint(path: Path) -> StoredCheckpoint:
    """The tensors of a file of a known container, each to be read when it is wanted.

    Nothing in it is executed. Raises CheckpointError if the file is foreign, damaged, cut short or
    would run code, or is torch's and torch is not installed; OSError if it cannot be read at all.
    """
    if is_index(_head_of(path)):
        return open_sharded(path, _open_file)
    return _open_file(path)


def _open_file(path: Path) -> StoredCheckpoint:
    """The tensors of one file."""
    head = _head_of(path)
    container = container_of(head)
    if container is None:
        expected = ", ".join(known.name for known in CONTAINERS)
        raise CheckpointError(f"{path}: found {_describe(head)}; can read: {expected}")
    return container.open(path)


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def container_of(head: bytes) -> Container | None:
    """The container whose files begin so (``HEAD_BYTES`` bytes); None if no known one does.

    An index of shards holds no tensors, and is none.
    """
    return next((known for known in CONTAINERS if known.recognises(head)), None)


def _open_torch(path: Path, *, archive: bool) -> StoredCheckpoint:
    try:
        from . import torch_files
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from rowcast.terminal.install_hints import install_hint

        raise CheckpointError(
            f"{path} is a torch file, and torch is not installed: {install_hint('torch')}, "
            "or have it turned into safetensors elsewhere with `rowcast convert`"
        ) from error
    return torch_files.open_torch(path, archive=archive)


def _describe(head: bytes) -> str:
    """Description of an unrecognised file, for an error message."""
    if not head:
        return "an empty file"
    if PICKLE.match(head):
        return (
            "a pickle that torch did not write; it is not opened; if you trust who wrote it, save "
            "its tensors as safetensors"
        )
    for start, description in KNOWN_HEADS:
        if head.startswith(start):
            return description
    return f"a file of an unknown kind (it begins with {head[:12].hex(' ')})"


CONTAINERS: Final = (
    Container("safetensors", is_safetensors, open_safetensors),
    Container(
        "torch zip archives", lambda head: head.startswith(ZIP), partial(_open_torch, archive=True)
    ),
    Container(
        "old torch pickles",
        lambda head: bool(PICKLE.match(head)) and TORCH_NUMBER in head[:24],
        partial(_open_torch, archive=False),
    ),
    Container("flax msgpack", is_flax, open_flax),
)
