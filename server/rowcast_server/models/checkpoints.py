"""Checkpoint files, opened for the models' loaders: floating-point tensors, or a ModelError.

The exporter's `formats`, the one place that knows foreign files, reads them.
"""

from __future__ import annotations

from pathlib import Path

from rowcast_export import formats

from ..errors import ModelError
from ..network.tensors import Tensors


def open_checkpoint(path: Path) -> Tensors:
    """The tensors of a file of any known format. Nothing in it is executed.

    Raises ModelError, naming file and tensor, where it cannot be read or holds other numbers.
    """
    try:
        stored = formats.open_checkpoint(path)
        for name, tensor in stored.tensors.items():
            if tensor.dtype not in formats.FLOATING:
                tensor.read()  # where it cannot be read at all, this says why
                raise ModelError(f"{path}: {name} is of type {tensor.dtype}, not floating point")
    except formats.CheckpointError as error:
        raise ModelError(str(error)) from error
    return Tensors(path, stored.tensors)
