"""Foreign checkpoint files: what is in them, as float32 tensors under the names of the family.

The one place that reads a file which somebody else wrote. It loads weights only: nothing in a file
is ever executed. A file is recognised by its first bytes, never by its name. This module must not
know what becomes of the tensors; it imports torch and the file libraries, nothing of ours, so that
the server may use it alone.

Families read so far:

- safetensors, with min-dalle's detokenizer names (`embedding.weight`, `post_quant_conv.*`,
  `decoder.*`), https://github.com/kuprel/min-dalle: our own `detokenizer.safetensors`.

A further family is one more `Container` in `CONTAINERS` if its bytes differ, and a renaming in
`read_detokenizer` if its names do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

HEAD_BYTES: Final = 64  # enough to recognise every container
LONGEST_SAFETENSORS_HEADER: Final = 100_000_000  # bytes; the limit of the safetensors library

DETOKENIZER_KEYS: Final = ("embedding.weight", "post_quant_conv.weight", "decoder.conv_in.weight")

# Files that turn up under a checkpoint's name, so that the error can say what they are.
KNOWN_HEADS: Final = (
    (b"PK\x03\x04", "a zip archive, perhaps a torch .pt file"),
    (b"\x80\x02", "a pickle, perhaps an old torch .pt file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was never downloaded"),
    (b"<!DOCTYPE", "a web page, perhaps a failed download"),
    (b"<html", "a web page, perhaps a failed download"),
)


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file and says what was found."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: float32 tensors, its own free-form notes, the sha256 of its bytes."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


@dataclass(frozen=True)
class Container:
    """A kind of file: how its first bytes look, and how its tensors are read."""

    name: str
    recognises: Callable[[bytes], bool]
    read: Callable[[Path], tuple[dict[str, Tensor], dict[str, str]]]


def read_checkpoint(path: Path) -> Checkpoint:
    """All tensors of a file of a known container, floating ones as float32.

    Raises CheckpointError if the file is foreign, damaged, cut short or holds NaN or infinity, and
    OSError if it cannot be read at all.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    container = next((known for known in CONTAINERS if known.recognises(head)), None)
    if container is None:
        expected = ", ".join(known.name for known in CONTAINERS)
        raise CheckpointError(f"{path}: found {_describe(head)}; can read: {expected}")
    stored, metadata = container.read(path)
    tensors = {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in stored.items()
    }
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: the tensor {name} holds NaN or infinity")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(tensors, metadata, sha256)


def read_detokenizer(path: Path) -> Checkpoint:
    """A checkpoint that holds a VQGAN decoder, under min-dalle's names.

    Raises as `read_checkpoint`, and CheckpointError if the tensors are not those of a detokenizer.
    """
    checkpoint = read_checkpoint(path)
    missing = [name for name in DETOKENIZER_KEYS if name not in checkpoint.tensors]
    if missing:
        found = ", ".join(sorted(checkpoint.tensors)[:3]) or "none"
        raise CheckpointError(
            f"{path}: not a detokenizer of a known family: no tensor {missing[0]}; "
            f"found {len(checkpoint.tensors)} tensors ({found}, ...)"
        )
    return checkpoint


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of little-endian header length, then a JSON object."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length <= LONGEST_SAFETENSORS_HEADER


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The library checks that the tensors cover the file exactly, so a cut file is always seen."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, metadata
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: a safetensors file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {error}); fetch it again"
        ) from error


def _describe(head: bytes) -> str:
    """What a file that nobody recognises seems to be."""
    if not head:
        return "an empty file"
    for start, description in KNOWN_HEADS:
        if head.startswith(start):
            return description
    return f"a file of an unknown kind (it begins with {head[:12].hex(' ')})"


CONTAINERS: Final = (Container("safetensors", _is_safetensors, _read_safetensors),)
