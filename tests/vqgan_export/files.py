"""Checkpoint files as others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import torch
from torch import Tensor

FLAX_ARRAY = 1


def write_flax(path: Path, state: dict[str, Tensor]) -> Path:
    """As flax.serialization does: nested maps, arrays as an extension of (shape, dtype, bytes)."""
    tree: dict[str, Any] = {}
    for name, value in state.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = flax_array(value)
    path.write_bytes(msgpack.packb(tree))
    return path


def flax_array(value: Tensor) -> msgpack.ExtType:
    """One leaf."""
    kind = str(value.dtype).removeprefix("torch.")
    data = bytes(value.contiguous().view(-1).view(torch.uint8).numpy())
    return msgpack.ExtType(FLAX_ARRAY, msgpack.packb((list(value.shape), kind, data)))
