"""Sharded checkpoints: an index (``….index.json``) that says in which file each tensor lies.

As transformers and diffusers write them (``weight_map``: name of a tensor to name of a file beside
the index). A shard is opened as any file is; one that is not there is missed once it is wanted, so
that of a large model the shard with the decoder is enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .stored import CheckpointError, StoredCheckpoint, StoredTensor, unreadable

INDICES: Final = "*.index.json"
LARGEST: Final = 100_000_000  # bytes; real ones have under a million
SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.")  # in the names that writers of shards give


def is_index(head: bytes) -> bool:
    """True if the file begins as a JSON object."""
    return head.lstrip().startswith(b"{")


def open_sharded(path: Path, open_shard: Callable[[Path], StoredCheckpoint]) -> StoredCheckpoint:
    """The tensors of all shards that are there. Raises CheckpointError."""
    files = weight_map(path)
    opened = {}
    for file in sorted(set(files.values())):
        if is_name(file) and path.with_name(file).is_file():
            opened[file] = open_shard(path.with_name(file)).tensors

    def tensor(name: str, file: str) -> StoredTensor:
        if file in opened:
            return opened[file].get(name) or unreadable(
                f"{path}: a sharded checkpoint whose shard {file} has no tensor {name}"
            )
        return unreadable(
            f"{path}: a sharded checkpoint: the tensor {name} lies in {file:.200}, which is not "
            "beside it; fetch that file, too"
        )

    tensors = {name: tensor(name, file) for name, file in files.items()}
    places = {name: path.with_name(file) for name, file in files.items() if file in opened}
    return StoredCheckpoint(path, "sharded checkpoint", tensors, shards=places)


def weight_map(path: Path) -> dict[str, str]:
    """The file name of each tensor. Raises CheckpointError."""
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path}: a JSON file of {path.stat().st_size} bytes, no checkpoint")
    try:
        index = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: neither a checkpoint nor JSON: {error}") from error
    files = index.get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise CheckpointError(
            f"{path}: a JSON file, but not the index of a sharded checkpoint (no weight_map); "
            "name the file with the weights, or their folder"
        )
    return files


def is_name(file: str) -> bool:
    """True if this is the plain name of a file, so that no index leads elsewhere."""
    return bool(file) and Path(file).name == file and "\\" not in file


def shard_hint(path: Path) -> str:
    """What to add to an error about a file that is one shard of several, by its name."""
    shard = SHARD.search(path.name)
    if shard is None:
        return ""
    return (
        f"; it is shard {int(shard[1])} of {int(shard[2])} of a sharded checkpoint: name its "
        "….index.json, or the folder"
    )
