"""Checkpoints of ``torch.save``: the zip archive of torch 1.6 and later, the pickle before it.

Weights only: a pickle that names a function is refused, not run. What trainers leave beside the
weights (a Lightning callback, the command line) is put down as an inert ``Leftover``. An archive is
mapped into memory by torch; tensors are read when they are used.

The one module of this package that imports torch; ``containers.py`` imports it when it must.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from .stored import (
    DTYPES,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
    unreadable,
)

DEEPEST: Final = 8  # dicts within dicts; real files have 2
# Classes found in training checkpoints. Their names stand for nothing here: no code of theirs runs.
LEFTOVERS: Final = (
    "argparse.Namespace",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "main.CUDACallback",
    "main.ImageLogger",
    "main.SetupCallback",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)


class Leftover:
    """Inert stand-in for an object that is not a weight: it takes anything and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def open_torch(path: Path, *, archive: bool) -> StoredCheckpoint:
    """Open a zip archive, mapped, or the older format, which is read whole.

    Raises CheckpointError.
    """
    if archive:
        _check_archive(path)
    container = "torch zip archive" if archive else "torch pickle"
    return _stored(path, container, _load(path, mapped=archive))


def _check_archive(path: Path) -> None:
    """Raise CheckpointError unless members are stored as they are, one pickle among them.

    Then mapping the archive costs no memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path}: found a zip archive that is damaged or cut short "
            f"({path.stat().st_size} bytes; {error}); fetch it again"
        ) from error
    names = {member.filename.rpartition("/")[2] for member in members}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path}: found a TorchScript archive, which is a program; save its state_dict instead"
        )
    if "data.pkl" not in names:
        raise CheckpointError(f"{path}: found a zip archive, but not one of torch (no data.pkl)")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{path}: found a compressed member, {member.filename}; torch writes none"
            )


def _load(path: Path, *, mapped: bool) -> object:
    """Unpickle, weights only. Raises CheckpointError."""
    leftovers: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
    leftovers = [(Leftover, name) for name in LEFTOVERS]
    try:
        with torch.serialization.safe_globals(leftovers), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the format
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling a damaged file may raise
        reason = _sentence(error)
        if isinstance(error, pickle.UnpicklingError) and reason.lower().startswith("unsupported"):
            raise CheckpointError(
                f"{path}: refused: its pickle would run code, or holds more than weights ({reason})"
            ) from error
        raise CheckpointError(
            f"{path}: a torch file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {reason}); fetch it again"
        ) from error


def _sentence(error: Exception) -> str:
    """The finding, without the long advice that torch wraps it in."""
    told = " ".join(str(error).split()) or type(error).__name__
    found = re.search(r"unsupported .*|(?<=WeightsUnpickler error: ).*", told, re.IGNORECASE)
    return re.split(r" Please | Check the ", found[0] if found else told)[0][:160].strip()


def _stored(path: Path, container: str, root: object) -> StoredCheckpoint:
    if not isinstance(root, Mapping):
        raise CheckpointError(f"{path}: holds a {type(root).__name__}, not named tensors")
    largest = path.stat().st_size
    tensors = {
        name: _tensor(f"{path}: the tensor {name}", value.detach(), largest)
        for name, value in _leaves(root, "", {id(root)}, 0)
    }
    return StoredCheckpoint(path, container, tensors)


def _leaves(
    tree: Mapping[object, object], prefix: str, seen: set[int], depth: int
) -> Iterator[tuple[str, Tensor]]:
    """Tensors under dotted names. A dict met before is skipped: a pickle may hold itself."""
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and id(value) not in seen and depth < DEEPEST:
            seen.add(id(value))
            yield from _leaves(value, f"{prefix}{key}.", seen, depth + 1)


def _tensor(what: str, value: Tensor, largest: int) -> StoredTensor:
    """A view of a dense tensor on the CPU, no larger than its file."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        return unreadable(f"{what} is not a plain one ({value.layout})")
    if value.numel() * value.element_size() > largest:
        return unreadable(f"{what} claims the shape {list(value.shape)}, more than the file holds")
    dtype = DTYPES.get(str(value.dtype).removeprefix("torch."))
    if dtype is None:
        return unreadable(f"{what} is of type {value.dtype}")
    try:
        # numpy itself has no bfloat16
        array = (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
    except (RuntimeError, ValueError, TypeError) as error:
        return unreadable(f"{what} cannot be had in numpy: {error}")
    array = array.view(dtype)
    return StoredTensor(array.shape, dtype, lambda: array)
