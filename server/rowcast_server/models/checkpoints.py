"""Checkpoint files, recognised by content and opened without being loaded: weights only, no code.

- safetensors: the header is read, each tensor when asked for.
- torch's zip format (`.pt`): mapped into memory by torch itself, with its weights-only unpickler.
  Files older than torch 1.6 are no zip and cannot be mapped: they are read whole, weights only.
- flax's msgpack (`flax_model.msgpack`): mapped, decoded by msgspec; arrays are views of the map.

torch is imported for its own files only. Raises ModelError, naming file and tensor.
"""

from __future__ import annotations

import mmap
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ml_dtypes
import msgspec
import numpy as np
import safetensors

from .errors import ModelError
from .tensors import Array, StoredTensor, Tensors

if TYPE_CHECKING:
    import torch

SAFETENSORS_DTYPES: Final = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
# Files that turn up under a checkpoint's name, so that the error can say what they are.
KNOWN_HEADS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was never downloaded"),
    (b"<!DOCTYPE", "a web page, perhaps a failed download"),
    (b"<html", "a web page, perhaps a failed download"),
    (b"\x89HDF", "an HDF5 file"),
)
PICKLES: Final = (b"\x02", b"\x03", b"\x04", b"\x05")  # protocols
FLAX_ARRAY: Final = 1  # msgpack extension type of flax.serialization for arrays
FLAX_CHUNKED: Final = "__msgpack_chunked_array__"


def open_checkpoint(path: Path) -> Tensors:
    """The tensors of a file, of whichever known format. Nothing in it is executed."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in PICKLES):
        return open_torch(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000:
        return open_safetensors(path)
    if head and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):  # a msgpack map
        return open_flax(path)
    found = next((what for start, what in KNOWN_HEADS if head.startswith(start)), None)
    if found is None:
        found = f"unknown contents (it begins with {head[:8].hex(' ')})" if head else "no contents"
    raise ModelError(f"{path}: found {found}; can read safetensors, torch .pt and flax msgpack")


def open_safetensors(path: Path) -> Tensors:
    try:
        file: Any = safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is no safetensors file, or is cut short: {error}") from error
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (a safe_open is no mapping)
        part = file.get_slice(name)
        dtype = SAFETENSORS_DTYPES.get(part.get_dtype())
        if dtype is None:
            raise ModelError(f"{path}: {name} is of type {part.get_dtype()}, not floating point")

        def read(name: str = name) -> Array:
            array: Array = file.get_tensor(name)
            return array

        tensors[name] = StoredTensor(tuple(part.get_shape()), dtype, read)
    return Tensors(path, tensors)


def open_torch(path: Path) -> Tensors:
    state = _load_torch(path)
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{path}: holds {type(state).__name__}, not named tensors")
    return Tensors(path, {str(name): _torch_tensor(path, name, state[name]) for name in state})


def _load_torch(path: Path) -> object:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{path} is a torch file, and torch is not installed: pip install 'rowcast[torch]', "
            "or have it turned into safetensors elsewhere with `rowcast convert`"
        ) from error
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        with warnings.catch_warnings():  # of pickle protocols that it may not know: then it fails
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        reason = str(error).replace("\n", " ")
        raise ModelError(
            f"{path}: the pickle holds more than weights and could run code, so it was not "
            f"loaded: {_offender(reason)}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(
            f"{path}: a torch file that is damaged or cut short ({path.stat().st_size} bytes; "
            f"{reason}); fetch it again"
        ) from error


def _offender(reason: str) -> str:
    """From torch's long advice the one sentence that says what was found."""
    at = reason.find("Unsupported")
    at = reason.find("WeightsUnpickler error") if at < 0 else at
    sentence = reason[max(at, 0) :].split(" Please ")[0]
    return sentence[:160].strip()


def _torch_tensor(path: Path, name: object, value: object) -> StoredTensor:
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise ModelError(f"{path}: {name} is no tensor of floating-point numbers")
    dtypes = {
        torch.float64: np.dtype(np.float64),
        torch.float32: np.dtype(np.float32),
        torch.float16: np.dtype(np.float16),
        torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    }
    if value.dtype not in dtypes:
        raise ModelError(f"{path}: {name} is of type {value.dtype}")
    return StoredTensor(
        tuple(value.shape), dtypes[value.dtype], lambda: _as_numpy(value, dtypes[value.dtype])
    )


def _as_numpy(value: torch.Tensor, dtype: np.dtype[Any]) -> Array:
    """A view, without copying; numpy itself has no bfloat16."""
    import torch

    if value.dtype == torch.bfloat16:
        array: Array = value.detach().view(torch.int16).numpy().view(dtype)
        return array
    plain: Array = value.detach().numpy()
    return plain


def open_flax(path: Path) -> Tensors:
    """Names are the keys from the root down, joined by dots."""
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        leaves = list(_leaves(msgspec.msgpack.decode(mapped, ext_hook=_flax_array)))
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: a msgpack file that is damaged or cut short ({len(mapped)} bytes; {error}); "
            "fetch it again"
        ) from error
    tensors = {}
    for name, value in leaves:
        if not isinstance(value, np.ndarray):
            raise ModelError(f"{path}: {name} is no array")
        tensors[name] = StoredTensor(
            value.shape,
            value.dtype,
            lambda value=value: value,  # type: ignore[misc]
        )
    return Tensors(path, tensors)


def _flax_array(code: int, data: memoryview) -> Array:
    """flax.serialization's arrays: (shape, dtype name, bytes), as a view of ``data``."""
    if code != FLAX_ARRAY:
        raise ValueError(f"msgpack extension {code} is not an array")
    shape, dtype_name, values = msgspec.msgpack.decode(
        data, type=tuple[tuple[int, ...], str, memoryview]
    )
    known = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
    known |= {name: np.dtype(name) for name in ("float16", "float32", "float64")}
    if dtype_name not in known:
        raise ValueError(f"an array of type {dtype_name}, not floating point")
    return np.frombuffer(values, known[dtype_name]).reshape(shape)


def _leaves(tree: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Depth first. Arrays over 1 GiB are stored in chunks: they are put together here."""
    if not isinstance(tree, Mapping):
        yield name, tree
    elif FLAX_CHUNKED in tree:
        shape, chunks = tree["shape"], tree["chunks"]
        ordered = [chunks[key] for key in sorted(chunks, key=int)]
        yield name, np.concatenate(ordered).reshape([shape[key] for key in sorted(shape, key=int)])
    else:
        for key, value in tree.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
