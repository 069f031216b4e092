"""Files written by `torch.save`: the zip archive of torch 1.6 and later, the pickle before it.

Weights only: a pickle that names a function is refused, not run. What trainers leave beside the
weights (a Lightning callback, the command line) is put down as an inert `Leftover`. An archive is
mapped into memory; tensors are read when they are used.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from rowcast_export.formats.checkpoint import CheckpointError, Read, Stored

ZIP: Final = b"PK\x03\x04"
# Protocol 2, then the number with which torch begins its old files.
LEGACY: Final = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
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
    """Stands for an object that is not a weight. It takes anything and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def is_torch_archive(head: bytes) -> bool:
    return head.startswith(ZIP)


def is_torch_pickle(head: bytes) -> bool:
    return head.startswith(LEGACY)


def open_torch_archive(path: Path) -> Stored:
    """The zip archive, mapped."""
    _check_archive(path)
    return _stored(path, "torch zip archive", _load(path, mapped=True))


def open_torch_pickle(path: Path) -> Stored:
    """The older format: it cannot be mapped, so it is read whole."""
    return _stored(path, "torch pickle", _load(path, mapped=False))


def _check_archive(path: Path) -> None:
    """A directory at the end, members as they are, one pickle: then mapping it costs no memory."""
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
    """What the pickle holds, weights only. Raises CheckpointError."""
    leftovers: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
    leftovers = [(Leftover, name) for name in LEFTOVERS]
    try:
        with torch.serialization.safe_globals(leftovers), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the format
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling a damaged file may raise
        reason = " ".join(str(error).split())
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in reason:
            offender = reason[reason.index("Unsupported") :].partition(" Please ")[0]
            raise CheckpointError(
                f"{path}: refused: its pickle would run code, or holds more than weights "
                f"({offender[:160].strip()})"
            ) from error
        raise CheckpointError(
            f"{path}: a torch file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {reason[:160]}); fetch it again"
        ) from error


def _stored(path: Path, container: str, root: object) -> Stored:
    if not isinstance(root, Mapping):
        raise CheckpointError(f"{path}: holds a {type(root).__name__}, not named tensors")
    largest = path.stat().st_size
    tensors: dict[str, Read] = {
        name: partial(_plain, path, name, value, largest)
        for name, value in _leaves(root, "", {id(root)}, 0)
    }
    return Stored(path, container, tensors)


def _leaves(
    tree: Mapping[object, object], prefix: str, seen: set[int], depth: int
) -> Iterator[tuple[str, Tensor]]:
    """Tensors under dotted names. A dict met before, as in a pickle that holds itself, is left."""
    for key, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and id(value) not in seen and depth < DEEPEST:
            seen.add(id(value))
            yield from _leaves(value, f"{prefix}{key}.", seen, depth + 1)


def _plain(path: Path, name: str, value: Tensor, largest: int) -> Tensor:
    """A dense tensor on the CPU, no larger than its file. Raises CheckpointError."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise CheckpointError(f"{path}: the tensor {name} is not a plain one ({value.layout})")
    if value.numel() * value.element_size() > largest:
        raise CheckpointError(
            f"{path}: the tensor {name} claims the shape {list(value.shape)}, "
            "more than the file holds"
        )
    return value.detach()
