"""The VQGAN decoder in a checkpoint, whatever its family calls the tensors: float32, one naming."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .containers import HEAD_BYTES, container_of, open_checkpoint
from .diffusers_config import FILE_NAME as CONFIG_NAME
from .diffusers_config import check_tensors, names_model, notes_of, read_config, variant_of
from .families import (
    JANUS,
    PLAIN,
    TAMING,
    Family,
    begins_lowest,
    find_decoders,
    is_raised,
    renamed,
    signatures,
)
from .sharded_files import INDICES, shard_hint, weight_map
from .stored import (
    FLOATING,
    READABLE,
    UNREADABLE,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
)

MOST_FILES: Final = 1000  # in a folder, before it is taken for the wrong one
VECTOR: Final = re.compile(r"\.bias$|\.norm(1|2|_out)?\.weight$")
REMAPPED: Final = "quantize.used"  # taming's table of the codes in use
SMALLEST_LENGTH: Final = 1e-12  # of a code vector that is scaled to length 1

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Checkpoint:
    """A decoder: its tensors, the file's own free-form notes, the sha256 of the file's bytes.

    The tensors are under min-dalle's names, whatever their ``family`` calls them. Those that the
    file holds in float32 are views of it, and not to be written to.
    """

    path: Path
    tensors: Mapping[str, Values]
    metadata: Mapping[str, str]
    sha256: str
    family: Family = PLAIN


def read_detokenizer(path: Path) -> Checkpoint:
    """The VQGAN decoder in a file, or in the one checkpoint of a folder.

    Encoders, losses and optimisers beside it are not read. Raises as ``open_checkpoint``, and
    CheckpointError if there is no decoder of a known family, or one with NaN or infinity in it.
    """
    stored = open_checkpoint(_checkpoint_in(path) if path.is_dir() else path)
    path = stored.path
    prefix, family = _recognise(stored)
    within = [name.removeprefix(prefix) for name in stored.tensors if name.startswith(prefix)]
    config_path = path.with_name(CONFIG_NAME)
    if family is TAMING and (
        begins_lowest(within) or (not is_raised(within) and names_model(config_path, JANUS.name))
    ):
        family = JANUS
    names = renamed(family, within)
    notes = dict(stored.notes)
    config: dict[str, Any] = {}
    if family.needs_config:
        config = read_config(config_path)
        notes |= notes_of(config_path, config)
        family = variant_of(family, config)
    tensors: dict[str, Values] = {}
    for theirs, ours in sorted(names.items(), key=lambda pair: pair[1]):
        if ours in tensors:
            raise CheckpointError(f"{path}: the tensor {prefix}{theirs} is there under two names")
        value = _finite(path, f"{prefix}{theirs}", stored.tensors[f"{prefix}{theirs}"])
        tensors[ours] = _oriented(family, ours, value)
    if family.needs_config:
        check_tensors(config_path, config, tensors)
    shards = {stored.shards[f"{prefix}{name}"] for name in names if stored.shards}
    return Checkpoint(path, tensors, notes, sha256_of(path, *sorted(shards)), family)


def _recognise(stored: StoredCheckpoint) -> tuple[str, Family]:
    """The prefix of the one decoder in a file, and its family. Raises CheckpointError."""
    decoders = find_decoders(stored.tensors)
    if not decoders:
        names = sorted(stored.tensors)
        raise CheckpointError(
            f"{stored.path}: no VQGAN decoder of a known family: found a {stored.container} with "
            f"{len(names)} tensors ({', '.join(names[:3]) or 'none'}, ...); known: {signatures()}"
            f"{shard_hint(stored.path)}"
        )
    if len(decoders) > 1:
        places = ", ".join(f"{prefix}decoder" for prefix, _ in decoders)
        raise CheckpointError(
            f"{stored.path}: more than one decoder: {places}; save the tensors of one alone"
        )
    [(prefix, families)] = decoders
    if f"{prefix}{REMAPPED}" in stored.tensors:
        raise CheckpointError(
            f"{stored.path}: found {prefix}{REMAPPED}: its token ids are places in that table, not "
            "codes, which is not supported"
        )
    for family in families:
        if f"{prefix}{family.codebook}" in stored.tensors:
            return prefix, family
    codebooks = " or ".join(f"{prefix}{family.codebook}" for family in families)
    raise CheckpointError(
        f"{stored.path}: found a decoder without a codebook: no tensor {codebooks}"
        f"{shard_hint(stored.path)}"
    )


def _checkpoint_in(folder: Path) -> Path:
    """The one file of a folder that is a checkpoint by its content, or the index of its shards.

    Raises CheckpointError.
    """
    candidates = _candidates(folder)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        found = f"{', '.join(path.name for path in candidates)}; name the one that is meant"
    else:
        below = [path for path in sorted(folder.iterdir()) if path.is_dir() and _candidates(path)]
        found = f"none, but in {', '.join(map(str, below))}" if below else "none"
    raise CheckpointError(f"{folder}: a folder with one checkpoint is wanted; found: {found}")


def _candidates(folder: Path) -> list[Path]:
    """The checkpoints of a folder; shards are in their index. Raises CheckpointError."""
    candidates = sorted(folder.glob(INDICES))
    shards = {file for index in candidates for file in weight_map(index).values()}
    for count, path in enumerate(sorted(folder.iterdir())):
        if count >= MOST_FILES:
            raise CheckpointError(f"{folder}: more than {MOST_FILES} files; name one of them")
        if path.is_file() and path.name not in shards:
            with path.open("rb") as file:
                if container_of(file.read(HEAD_BYTES)):
                    candidates.append(path)
    return candidates


def _finite(path: Path, name: str, tensor: StoredTensor) -> Values:
    """The values as float32. Raises CheckpointError at NaN, infinity and whole numbers."""
    if tensor.dtype not in FLOATING and tensor.dtype != UNREADABLE:
        raise CheckpointError(
            f"{path}: the tensor {name} holds {tensor.dtype}, not floating point; {READABLE}"
        )
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity, which is told
        value = np.asarray(tensor.read(), np.float32)
    if not np.isfinite(value).all():
        raise CheckpointError(f"{path}: the tensor {name} holds NaN or infinity")
    return value


def _oriented(family: Family, name: str, value: Values) -> Values:
    """The values in our layout: kernels [out, in, height, width], a plain table of codes."""
    if name == PLAIN.codebook:
        if not family.unit_codes:
            return value
        lengths = np.linalg.norm(value, axis=-1, keepdims=True)  # [codes, 1]
        scaled: Values = value / np.maximum(lengths, np.float32(SMALLEST_LENGTH))
        return scaled
    if family.kernels_last and value.ndim == 4:
        if VECTOR.search(name):  # [1, 1, 1, channels], as flax wrote them in 2021
            return value.reshape(-1)
        return value.transpose(3, 2, 0, 1)
    if ".attn" in name and value.ndim == 2:  # a linear layer is a 1x1 convolution
        return value[:, :, None, None]
    return value


def sha256_of(*paths: Path) -> str:
    """The digest of a file's bytes, or of several files' one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
