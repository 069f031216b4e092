"""Container formats of checkpoints, each recognised by its first bytes.

torch is imported where a file of torch's is opened, and nowhere else in this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from .flax_files import is_flax, open_flax
from .safetensors_files import is_safetensors, open_safetensors
from .stored import CheckpointError, StoredCheckpoint

HEAD_BYTES: Final = 64  # enough to recognise every container
ZIP: Final = b"PK\x03\x04"
# Protocol 2, then the number with which torch begins its files older than 1.6.
TORCH_PICKLE: Final = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

# Files that turn up under a checkpoint's name, so that the error can say what they are.
KNOWN_HEADS: Final = (
    (b"\x80\x02", "a pickle that torch did not write; it is not opened"),
    (b"\x80\x03", "a pickle that torch did not write; it is not opened"),
    (b"\x80\x04", "a pickle that torch did not write; it is not opened"),
    (b"\x80\x05", "a pickle that torch did not write; it is not opened"),
    (b"\x89HDF", "an HDF5 file"),
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
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    container = container_of(head)
    if container is None:
        expected = ", ".join(known.name for known in CONTAINERS)
        raise CheckpointError(f"{path}: found {_describe(head)}; can read: {expected}")
    return container.open(path)


def container_of(head: bytes) -> Container | None:
    """The container whose files begin so (``HEAD_BYTES`` bytes); None if no known one does."""
    return next((known for known in CONTAINERS if known.recognises(head)), None)


def _open_torch(path: Path, *, archive: bool) -> StoredCheckpoint:
    try:
        from . import torch_files
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CheckpointError(
            f"{path} is a torch file, and torch is not installed: pip install 'rowcast[torch]', "
            "or have it turned into safetensors elsewhere with `rowcast convert`"
        ) from error
    return torch_files.open_torch(path, archive=archive)


def _describe(head: bytes) -> str:
    """Description of an unrecognised file, for an error message."""
    if not head:
        return "an empty file"
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
        lambda head: head.startswith(TORCH_PICKLE),
        partial(_open_torch, archive=False),
    ),
    Container("flax msgpack", is_flax, open_flax),
)
