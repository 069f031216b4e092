"""The kinds of files that can be opened, each recognised by its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from rowcast_export.formats.checkpoint import CheckpointError, Read, Stored
from rowcast_export.formats.flax_files import is_flax, open_flax
from rowcast_export.formats.torch_files import (
    is_torch_archive,
    is_torch_pickle,
    open_torch_archive,
    open_torch_pickle,
)

HEAD_BYTES: Final = 64  # enough to recognise every container
LONGEST_SAFETENSORS_HEADER: Final = 100_000_000  # bytes; the limit of the safetensors library

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
    """A kind of file: how its first bytes look, and how it is opened."""

    name: str
    recognises: Callable[[bytes], bool]
    open: Callable[[Path], Stored]


def open_checkpoint(path: Path) -> Stored:
    """The tensors of a file of a known container, each to be read when it is wanted.

    Raises CheckpointError if the file is foreign, damaged, cut short or would run code, and OSError
    if it cannot be read at all.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    container = container_of(head)
    if container is None:
        expected = ", ".join(known.name for known in CONTAINERS)
        raise CheckpointError(f"{path}: found {_describe(head)}; can read: {expected}")
    return container.open(path)


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of little-endian header length, then a JSON object."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length <= LONGEST_SAFETENSORS_HEADER


def _open_safetensors(path: Path) -> Stored:
    """The library checks that the tensors cover the file exactly, so a cut file is always seen."""
    try:
        file: Any = safe_open(path, framework="pt")
        names: list[str] = list(file.keys())
        metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: a safetensors file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {error}); fetch it again"
        ) from error

    def reader(name: str) -> Read:
        return lambda: file.get_tensor(name)

    return Stored(path, "safetensors file", {name: reader(name) for name in names}, metadata)


def container_of(head: bytes) -> Container | None:
    """None where nobody recognises the first `HEAD_BYTES` of a file."""
    return next((known for known in CONTAINERS if known.recognises(head)), None)


def _describe(head: bytes) -> str:
    """What a file that nobody recognises seems to be."""
    if not head:
        return "an empty file"
    for start, description in KNOWN_HEADS:
        if head.startswith(start):
            return description
    return f"a file of an unknown kind (it begins with {head[:12].hex(' ')})"


CONTAINERS: Final = (
    Container("safetensors", _is_safetensors, _open_safetensors),
    Container("torch zip archives", is_torch_archive, open_torch_archive),
    Container("old torch pickles", is_torch_pickle, open_torch_pickle),
    Container("flax msgpack", is_flax, open_flax),
)
