"""Checkpoints of ``torch.save``: the zip archive of torch 1.6 and later, the pickle before it.

Weights only: a pickle that names a function is refused, not run. What trainers leave beside the
weights (a configuration, a Lightning callback, a path) is put down as an inert ``Leftover``. An
archive is mapped into memory by torch; tensors are read when they are used.

The one module of this package that imports torch; ``containers.py`` imports it when it must.
"""

from __future__ import annotations

import builtins
import pickle
import re
import shlex
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from .stored import (
    DTYPES,
    READABLE,
    CheckpointError,
    StoredCheckpoint,
    StoredTensor,
    unreadable,
)

DEEPEST: Final = 8  # dicts within dicts; real files have 2
MOST_LEFTOVERS: Final = 64  # classes; real files have some ten
# Whose classes lie in training checkpoints. Their names stand for nothing here: no code of theirs
# runs. ``main`` is taming's script.
LEFTOVER: Final = re.compile(
    r"(argparse|collections|datetime|easydict|enum|hydra|ldm|lightning|lightning_fabric|main"
    r"|ml_collections|numpy|omegaconf|pathlib|pytorch_lightning|taming|torch\.optim|typing|yaml)\..+"
)
BUILTIN: Final = frozenset(name for name, kind in vars(builtins).items() if isinstance(kind, type))
MET: Final = re.compile(r"Unsupported global: GLOBAL (\S+) was not|GLOBAL (\S+) whose module")
FILLED: Final = re.compile(r"Can only (set|append|extend).*got <class '.*?<(.+)>'>", re.IGNORECASE)


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
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path}: found numpy's .npz; save its arrays as safetensors instead")
    if "data.pkl" not in names:
        raise CheckpointError(f"{path}: found a zip archive, but not one of torch (no data.pkl)")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{path}: found a compressed member, {member.filename}; torch writes none"
            )


def _load(path: Path, *, mapped: bool) -> object:
    """Unpickle, weights only. Raises CheckpointError.

    torch names one class that it does not know, and stops: a stand-in is given for it, and the
    pickle is read again. None that fills a stand-in like a dict or a list is known before.
    """
    leftovers: dict[str, type[Leftover]] = {}
    while True:
        try:
            given: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
            given = [(stand_in, name) for name, stand_in in leftovers.items()]
            with torch.serialization.safe_globals(given), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the age of the format
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except OSError:
            raise
        except Exception as error:  # whatever unpickling a damaged file may raise
            more = _leftover_for(error)
            if more is None or len(leftovers) >= MOST_LEFTOVERS:
                raise _refusal(path, error) from error
            leftovers |= more


def _leftover_for(error: Exception) -> dict[str, type[Leftover]] | None:
    """The stand-in that lets the pickle be read beyond this error, by name; None if none may."""
    told = str(error)
    if (filled := FILLED.search(told)) is not None:
        how, name = filled.groups()
        return {name: _stand_in(name, OrderedDict if how.lower() == "set" else list)}
    met = MET.search(told)
    name = met[1] if met is not None else None  # of a builtin without its module
    if name in BUILTIN:
        return {f"builtins.{name}": _stand_in(f"builtins.{name}")}
    return {name: _stand_in(name)} if name and LEFTOVER.fullmatch(name) else None


def _stand_in(name: str, filled: Callable[[], object] | None = None) -> type[Leftover]:
    """A class of its own, so that torch's words tell which it was; ``filled`` if it is filled."""
    body = {} if filled is None else {"__new__": lambda cls, *_: filled()}
    return type(f"<{name}>", (Leftover,), body)


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """The sentence for what torch could not, or would not, unpickle."""
    reason = _sentence(error)
    if not isinstance(error, pickle.UnpicklingError) or "nsupported" not in reason:
        return CheckpointError(
            f"{path}: a torch file that is damaged or cut short "
            f"({path.stat().st_size} bytes; {reason}); fetch it again"
        )
    why = "its pickle would run code, or holds more than weights"
    if "operand" in reason:
        why = "its pickle is damaged, or not of protocol 2"
    if met := MET.search(str(error)):
        reason = f"it names {met[1] or met[2]}"
    code = (
        f"import torch; x = torch.load({str(path)!r}, 'cpu', weights_only=False); torch.save("
        "x.get('state_dict', x) if isinstance(x, dict) else x.state_dict(), 'weights.pt')"
    )
    return CheckpointError(
        f"{path}: refused: {why} ({reason}). If you trust who wrote it, take the weights out "
        f"and export those: python -c {_quoted(code)}"
    )


def _quoted(code: str) -> str:
    """The code as a word of a shell's; in double quotes wherever that is all it takes."""
    return shlex.quote(code) if re.search(r'["$`\\!]', code) else f'"{code}"'


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
        kind = "quantised" if value.is_quantized else str(value.layout)
        return unreadable(f"{what} is not a plain one ({kind}); {READABLE}")
    if value.numel() * value.element_size() > largest:
        return unreadable(f"{what} claims the shape {list(value.shape)}, more than the file holds")
    dtype = DTYPES.get(str(value.dtype).removeprefix("torch."))
    if dtype is None:
        return unreadable(f"{what} is of type {value.dtype}; {READABLE}")
    try:
        # numpy itself has no bfloat16
        array = (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
    except (RuntimeError, ValueError, TypeError) as error:
        return unreadable(f"{what} cannot be had in numpy: {error}")
    array = array.view(dtype)
    return StoredTensor(array.shape, dtype, lambda: array)
