"""The torch module of a checkpoint's decoder, its tensors checked one by one.

This module must not know where a checkpoint came from, nor what becomes of the module.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .formats import PLAIN, Checkpoint, CheckpointError, shard_hint
from .settings import Settings
from .vqgan import DecoderShape, VQGANDecoder


def build(checkpoint: Checkpoint, settings: Settings) -> VQGANDecoder:
    """The module in float32. Raises CheckpointError, which names the tensor that is at fault."""
    where = f"{checkpoint.path}: no decoder"
    if checkpoint.family is not PLAIN:
        where += f" ({checkpoint.family.name}; tensors are called as in {PLAIN.name})"
    state = {name: _as_tensor(value) for name, value in checkpoint.tensors.items()}
    options = settings.value_range, settings.group_norm_epsilon, settings.norm_groups
    try:
        with torch.device("meta"):  # sizes without memory
            expected = VQGANDecoder(DecoderShape.from_state_dict(state), *options).state_dict()
        _compare_shapes(expected, state)
        module = VQGANDecoder.from_state_dict(state, *options)
    except KeyError as error:
        hint = shard_hint(checkpoint.path)
        raise CheckpointError(f"{where}: a tensor is missing: {error.args[0]}{hint}") from error
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    if module.shape.output_channels != 3:
        raise CheckpointError(
            f"{where}: decoder.conv_out.weight gives {module.shape.output_channels} channels, not 3"
        )
    return module


def _as_tensor(values: NDArray[np.float32]) -> Tensor:
    """A tensor on the same memory, wherever torch can use that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is read-only, a mapped file: nobody writes
        return torch.from_numpy(np.require(values, requirements="A"))


def _compare_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise KeyError or ValueError at the first tensor that is missing, misshapen or unknown."""
    for name, wanted in expected.items():
        if name not in found:
            raise KeyError(name)
        if found[name].shape != wanted.shape:
            raise ValueError(
                f"the tensor {name} has shape {list(found[name].shape)}, not {list(wanted.shape)}"
            )
    for name in found:
        if name not in expected:
            raise ValueError(f"the tensor {name} is not part of one")
