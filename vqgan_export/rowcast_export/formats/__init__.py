"""Foreign checkpoint files: what is in them, as float32 tensors under the names of one family.

The one place that reads a file which somebody else wrote. It loads weights only: nothing in a file
is ever executed. A file is recognised by its content, never by its name: its container by the first
bytes (`containers.py`), its family by the names of its tensors (`families.py`). This package must
not know what becomes of the tensors; it imports torch and the file libraries, nothing of ours, so
that the server may use it alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rowcast_export.formats.checkpoint import Checkpoint, CheckpointError, Stored
from rowcast_export.formats.containers import HEAD_BYTES, container_of, open_checkpoint
from rowcast_export.formats.diffusers_config import FILE_NAME as CONFIG_NAME
from rowcast_export.formats.diffusers_config import check_tensors, notes_of, read_config
from rowcast_export.formats.families import (
    FAMILIES,
    PLAIN,
    Family,
    find_decoders,
    renamed,
    signatures,
)

__all__ = [
    "FAMILIES",
    "PLAIN",
    "Checkpoint",
    "CheckpointError",
    "Family",
    "Stored",
    "open_checkpoint",
    "read_checkpoint",
    "read_detokenizer",
]

MOST_FILES: Final = 1000  # in a folder, before it is taken for the wrong one


def read_checkpoint(path: Path) -> Checkpoint:
    """All tensors of a file, floating ones as float32, under the names that they have there.

    Raises as `open_checkpoint`, and CheckpointError where a tensor holds NaN or infinity.
    """
    stored = open_checkpoint(path)
    tensors = {name: _finite(path, name, read()) for name, read in sorted(stored.tensors.items())}
    return Checkpoint(path, tensors, stored.notes, _sha256(path))


def read_detokenizer(path: Path) -> Checkpoint:
    """The VQGAN decoder in a file, or in the one checkpoint of a folder, under min-dalle's names.

    Encoders, losses and optimizers beside it are not read. Raises as `read_checkpoint`, and
    CheckpointError if there is no decoder of a known family.
    """
    stored = open_checkpoint(_checkpoint_in(path) if path.is_dir() else path)
    path = stored.path
    prefix, family = _recognise(stored)
    within = [name.removeprefix(prefix) for name in stored.tensors if name.startswith(prefix)]
    names = renamed(family, within)
    notes = dict(stored.notes)
    config_path = path.with_name(CONFIG_NAME)
    config = read_config(config_path) if family.needs_config else {}
    if family.needs_config:
        notes |= notes_of(config_path, config)
    tensors: dict[str, Tensor] = {}
    for theirs, ours in sorted(names.items(), key=lambda pair: pair[1]):
        if ours in tensors:
            raise CheckpointError(f"{path}: the tensor {prefix}{theirs} is there under two names")
        value = _finite(path, f"{prefix}{theirs}", stored.tensors[f"{prefix}{theirs}"]())
        tensors[ours] = _oriented(family, ours, value)
    if family.needs_config:
        check_tensors(config_path, config, tensors)
    return Checkpoint(path, tensors, notes, _sha256(path), family)


def _recognise(stored: Stored) -> tuple[str, Family]:
    """The prefix of the one decoder in a file, and its family. Raises CheckpointError."""
    decoders = find_decoders(stored.tensors)
    if not decoders:
        names = sorted(stored.tensors)
        raise CheckpointError(
            f"{stored.path}: no VQGAN decoder of a known family: found a {stored.container} with "
            f"{len(names)} tensors ({', '.join(names[:3]) or 'none'}, ...); known: {signatures()}"
        )
    if len(decoders) > 1:
        places = ", ".join(f"{prefix}decoder" for prefix, _ in decoders)
        raise CheckpointError(f"{stored.path}: more than one decoder: {places}")
    [(prefix, families)] = decoders
    for family in families:
        if f"{prefix}{family.codebook}" in stored.tensors:
            return prefix, family
    codebooks = " or ".join(f"{prefix}{family.codebook}" for family in families)
    raise CheckpointError(
        f"{stored.path}: found a decoder without a codebook: no tensor {codebooks}"
    )


def _checkpoint_in(folder: Path) -> Path:
    """The one file of a folder that is a checkpoint by its content. Raises CheckpointError."""
    candidates = []
    for count, path in enumerate(sorted(folder.iterdir())):
        if count >= MOST_FILES:
            raise CheckpointError(f"{folder}: more than {MOST_FILES} files; name one of them")
        if path.is_file():
            with path.open("rb") as file:
                if container_of(file.read(HEAD_BYTES)):
                    candidates.append(path)
    if len(candidates) != 1:
        found = ", ".join(path.name for path in candidates) or "none"
        raise CheckpointError(f"{folder}: a folder with one checkpoint is wanted; found: {found}")
    return candidates[0]


def _finite(path: Path, name: str, value: Tensor) -> Tensor:
    """Floating values as float32. Raises CheckpointError at NaN and infinity."""
    if not value.is_floating_point():
        return value
    value = value.to(torch.float32)
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"{path}: the tensor {name} holds NaN or infinity")
    return value


def _oriented(family: Family, name: str, value: Tensor) -> Tensor:
    """As our decoder wants it: kernels [out, in, height, width], a plain table of codes."""
    if name == PLAIN.codebook:
        return F.normalize(value, dim=-1) if family.unit_codes else value
    if family.kernels_last and value.dim() == 4:
        return value.permute(3, 2, 0, 1).contiguous()
    if ".attn" in name and value.dim() == 2:  # a linear layer is a 1x1 convolution
        return value[:, :, None, None]
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
