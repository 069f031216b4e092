"""Weights from files into a device's memory, in the dtype that the device computes in.

They go there in blocks: on the host, never more than a block of 16 MiB is in memory, whatever the
file's dtype. Knows nothing of the tensors' meaning.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .facts import Weights
from .tensors import Array, as_stored, blocks, shape_of

Module = TypeVar("Module", bound=nn.Module)


def fill_from(destination: Tensor, weights: Weights, name: str) -> None:
    """Write the first entries of a stored tensor over ``destination``, of any dtype and device.

    Raises ValueError where the stored tensor is smaller or of other inner sizes.
    """
    shape = shape_of(weights, name)
    if shape[0] < destination.shape[0] or shape[1:] != tuple(destination.shape[1:]):
        raise ValueError(f"{name} is of shape {shape}, needs {tuple(destination.shape)}")
    first = 0
    for block in blocks(as_stored(weights, name)[: len(destination)]):
        destination[first : first + len(block)].copy_(_host_tensor(block))
        first += len(block)


def _host_tensor(array: Array) -> Tensor:
    """A copy as a tensor: torch must not write to the memory of a mapped file."""
    copy = np.array(array, order="C")
    if copy.dtype.name == "bfloat16":  # ml_dtypes' own, which torch does not know
        return torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copy)


def read(
    weights: Weights,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    rows: int | None = None,
) -> Tensor:
    """A stored tensor, or its first ``rows``, on the device. Raises KeyError, and ValueError as
    `fill_from`."""
    shape = list(shape_of(weights, name))
    shape[0] = shape[0] if rows is None else rows
    tensor = torch.empty(shape, dtype=dtype, device=device)
    fill_from(tensor, weights, name)
    return tensor


def load_module(
    module: Module, weights: Weights, device: torch.device, dtype: torch.dtype
) -> Module:
    """Give a module that was made on torch's "meta" device its parameters.

    The scale of a LayerNorm may be absent, which means 1. Raises KeyError for any other.
    """
    for name, parameter in list(module.named_parameters()):
        owner, _, attribute = name.rpartition(".")
        part = module.get_submodule(owner)
        if isinstance(part, nn.LayerNorm) and attribute == "weight" and name not in weights:
            tensor = torch.ones(parameter.shape, dtype=dtype, device=device)
        else:
            tensor = read(weights, name, device, dtype)
        if tensor.shape != parameter.shape:
            raise ValueError(
                f"{name} is of shape {tuple(tensor.shape)}, needs {tuple(parameter.shape)}"
            )
        setattr(part, attribute, nn.Parameter(tensor, requires_grad=False))
    return module.eval()
