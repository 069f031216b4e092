"""Placement: the device that draws, and its dtype and cache.

torch is imported only to ask about its devices.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from rowcast.errors import RowcastError
from rowcast.terminal.install_hints import install_hint

from .network.facts import DEFAULT_CACHE, CacheKind

DTYPES: Final = ("float32", "int8", "int4", "bfloat16", "float16")
ONNX_DTYPES: Final = ("float32", "int8", "int4")  # of the CPU: what ONNX Runtime draws with
DEFAULT_DTYPES: Final = {"cpu": "float32", "cuda": "bfloat16", "mps": "float32"}


@dataclass(frozen=True)
class Placement:
    """A device (``cpu``, ``cuda``, ``cuda:N``, ``mps``) that is there, a dtype it can do, and
    its cache of each token: torch caches keys and values."""

    device: str = "cpu"
    dtype: str = "float32"
    cache: CacheKind = DEFAULT_CACHE

    @property
    def by_onnx(self) -> bool:
        """True if ONNX Runtime draws there; all else is torch's."""
        return self.device == "cpu" and self.dtype in ONNX_DTYPES

    @property
    def variant(self) -> str:
        """The name of the logits' rounding, and so of the pictures: the dtype, and a cache that is
        not the default."""
        return self.dtype if self.cache is DEFAULT_CACHE else f"{self.dtype}, {self.cache}"


def place_all(
    devices: str = "auto", dtype: str | None = None, cache: CacheKind = DEFAULT_CACHE
) -> tuple[Placement, ...]:
    """One placement for each of ``devices``, separated by commas; ``cuda:all`` is every CUDA one.

    Raises RowcastError, also where the devices would not draw the same pictures.
    """
    names = []
    for name in devices.split(","):
        names += _every_cuda() if name == "cuda:all" else [name]
    placements = tuple(place(name, dtype, cache) for name in names)
    if len({(placement.variant, placement.by_onnx) for placement in placements}) > 1:
        raise RowcastError(
            f"--device {devices}: they draw in different dtypes, and so different pictures; "
            "give one --dtype that they share, or serve them apart"
        )
    return placements


def place_replicas(
    device: str, dtype: str | None, cache: CacheKind, gpus: float
) -> tuple[Placement, ...]:
    """The one placement of every replica of a cluster, whose machines are asked when they draw.

    Each has one device: of the ``gpus`` that are its own the first, without any the CPU. Raises
    RowcastError.
    """
    device = ("cuda" if gpus else "cpu") if device == "auto" else device
    if device not in ("cpu", "cuda") or (device == "cuda") != (gpus > 0):
        raise RowcastError(
            f"--device {device}: a replica draws on cpu, or on cuda with --replica-gpus 1"
        )
    if device == "cpu":
        return (place(device, dtype, cache),)
    if dtype == "int8":
        raise RowcastError("--dtype int8 is for the CPU; a GPU is faster in bfloat16")
    return (Placement(device, dtype or DEFAULT_DTYPES[device]),)


def _every_cuda() -> list[str]:
    _check_cuda("cuda")
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def place(
    device: str = "auto", dtype: str | None = None, cache: CacheKind = DEFAULT_CACHE
) -> Placement:
    """Place on ``auto``, which is CUDA where torch sees it, else the CPU; without ``dtype``, in the
    device's own. ``cache`` is for ONNX Runtime.

    Raises RowcastError, which says what to do, where that cannot be had.
    """
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device) is None:
        raise RowcastError(f"--device {device}: choose cpu, cuda, cuda:N, mps or auto")
    if dtype not in (None, *DTYPES):
        raise RowcastError(f"--dtype {dtype}: choose one of {', '.join(DTYPES)}")
    if device == "auto":
        device = "cuda" if _cuda_can_be_used() else "cpu"
    placement = Placement(device, dtype or DEFAULT_DTYPES[device.partition(":")[0]])
    if placement.by_onnx:
        return replace(placement, cache=cache)
    if placement.dtype in ONNX_DTYPES[1:]:
        raise RowcastError(f"--dtype {placement.dtype} is for the CPU; a GPU is faster in bfloat16")
    if importlib.util.find_spec("torch") is None:
        raise RowcastError(
            f"--device {device} --dtype {placement.dtype} needs torch: "
            f"{install_hint('server', 'torch')}; "
            "--device cpu --dtype float32 does without"
        )
    if device == "cpu" and dtype == "float16":
        raise RowcastError("--dtype float16 is for cuda and mps; on the CPU take bfloat16")
    if device.startswith("cuda"):
        _check_cuda(device)
    elif device == "mps":
        _check_mps()
    return placement


def _cuda_can_be_used() -> bool:
    """True if torch sees CUDA. torch is imported, which takes a second, only if the driver has a
    device."""
    if importlib.util.find_spec("torch") is None or not _driver_has_devices():
        return False
    import torch

    return torch.cuda.is_available()


def _driver_has_devices(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> bool:
    try:
        driver = load("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return False
    return count.value > 0


def _check_cuda(device: str) -> None:
    import torch

    if not torch.cuda.is_available():
        why = "sees no CUDA device; is the driver loaded (nvidia-smi)?"
        if torch.version.cuda is None:
            why = "was built without CUDA; https://pytorch.org/get-started has the one with it"
        raise RowcastError(f"--device {device}: torch {torch.__version__} {why}")
    number, count = int(device.partition(":")[2] or 0), torch.cuda.device_count()
    if number >= count:
        raise RowcastError(f"--device {device}: there are {count}, the last is cuda:{count - 1}")


def _check_mps() -> None:
    import torch

    if not torch.backends.mps.is_available():
        raise RowcastError(
            f"--device mps: torch {torch.__version__} finds no Metal device; it needs a Mac with "
            "Apple silicon"
        )
