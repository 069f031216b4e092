"""Checkpoint files as others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.checkpoints import flax_bytes

State = dict[str, Tensor]


def write_torch_zip(path: Path, state: State) -> Path:
    """As a trainer does, beside which other things may lie."""
    torch.save({"state_dict": state}, path)
    return path


def write_old_torch(path: Path, state: State) -> Path:
    """The format before torch 1.6."""
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


def write_safetensors(path: Path, state: State) -> Path:
    save_file(state, path)
    return path


def write_flax(path: Path, state: State, chunked: bool = False) -> Path:
    """As flax.serialization does: nested maps, arrays as an extension of (shape, dtype, bytes)."""
    tree: dict[str, Any] = {}
    for name, value in state.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        if value.dtype == torch.bfloat16:
            branch[last] = value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            branch[last] = value.numpy()
    path.write_bytes(flax_bytes(tree, chunked))
    return path


def write_chunked_flax(path: Path, state: State) -> Path:
    """Large arrays in pieces."""
    return write_flax(path, state, chunked=True)
