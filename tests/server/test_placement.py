"""Where a model is drawn: what may be asked for, what is taken by itself, what an error says."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from typing import Any, cast

import pytest
import torch
from rowcast.errors import RowcastError
from rowcast_server import placement
from rowcast_server.network.facts import DEFAULT_CACHE
from rowcast_server.placement import Placement, place, place_all, place_replicas


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else find(name)
    )


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA devices, as torch and the driver tell it."""
    monkeypatch.setattr(placement, "_driver_has_devices", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("auto", None, Placement("cuda", "bfloat16")),
        ("auto", "float32", Placement("cuda", "float32")),
        ("cuda", "float16", Placement("cuda", "float16")),
        ("cuda:1", None, Placement("cuda:1", "bfloat16")),
        ("cpu", None, Placement("cpu", "float32")),
        ("cpu", "bfloat16", Placement("cpu", "bfloat16")),
        ("cpu", "int8", Placement("cpu", "int8")),
    ],
)
def test_a_device_brings_its_own_dtype(device: str, dtype: str | None, expected: Placement) -> None:
    assert place(device, dtype) == expected


@pytest.mark.usefixtures("without_cuda")
def test_a_driver_whose_device_torch_cannot_use_leaves_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placement, "_driver_has_devices", lambda: True)
    assert place("auto") == Placement("cpu", "float32")


@pytest.mark.usefixtures("without_torch")
def test_without_torch_auto_is_the_cpu_and_all_else_says_how_to_install_it() -> None:
    assert place("auto") == Placement("cpu", "float32")
    for device, dtype in (("cuda", None), ("mps", None), ("cpu", "bfloat16")):
        with pytest.raises(RowcastError, match=r"pip install '.*\[server,torch\]'"):
            place(device, dtype)


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize(
    ("built_for", "words"),
    [(None, "was built without CUDA; https://pytorch.org"), ("13.0", "sees no CUDA device")],
)
def test_cuda_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, built_for: str | None, words: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(RowcastError, match=rf"--device cuda: torch \S+ {words}"):
        place("cuda")


@pytest.mark.usefixtures("with_cuda")
def test_a_cuda_device_beyond_the_last_is_told() -> None:
    with pytest.raises(RowcastError, match="cuda:2: there are 2, the last is cuda:1"):
        place("cuda:2")


def test_mps_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert place("mps") == Placement("mps", "float32")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RowcastError, match="finds no Metal device"):
        place("mps")


@pytest.mark.parametrize(
    ("device", "dtype", "words"),
    [
        ("cpu", "float16", "on the CPU take bfloat16"),
        ("gpu", None, "--device gpu: choose cpu, cuda, cuda:N, mps or auto"),
        ("cuda:x", None, "choose cpu"),
        ("cpu", "int3", "--dtype int3: choose one of float32, int8, int4, bfloat16, float16"),
        ("mps", "int8", "int8 is for the CPU"),
    ],
)
def test_what_cannot_be_is_told(device: str, dtype: str | None, words: str) -> None:
    with pytest.raises(RowcastError, match=words):
        place(device, dtype)


@pytest.mark.usefixtures("with_cuda")
def test_several_devices_are_named_or_counted() -> None:
    both = (Placement("cuda:0", "bfloat16"), Placement("cuda:1", "bfloat16"))
    assert place_all("cuda:all") == place_all("cuda:0,cuda:1") == both
    assert place_all("cpu,cpu") == (Placement("cpu", "float32"),) * 2


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_devices_that_draw_different_pictures_are_not_served_together(dtype: str | None) -> None:
    with pytest.raises(RowcastError, match="different pictures"):
        place_all("cuda:0,cpu", dtype)


class FakeDriver:
    """The two functions of CUDA's driver that are called; each returns 0 where it worked."""

    def __init__(self, initialised: int, counted: int, devices: int) -> None:
        self.initialised, self.counted, self.devices = initialised, counted, devices

    def cuInit(self, flags: int) -> int:
        return self.initialised

    def cuDeviceGetCount(self, count: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.devices
        return self.counted


@pytest.mark.parametrize(
    ("driver", "has"),
    [
        (FakeDriver(0, 0, 2), True),
        (FakeDriver(0, 0, 0), False),
        (FakeDriver(100, 0, 2), False),  # CUDA_ERROR_NO_DEVICE
        (FakeDriver(0, 3, 2), False),
    ],
)
def test_the_driver_is_asked_for_devices(driver: FakeDriver, has: bool) -> None:
    assert placement._driver_has_devices(lambda name: cast(ctypes.CDLL, driver)) is has


def test_no_driver_has_no_devices() -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(name)

    assert not placement._driver_has_devices(missing)


def test_where_there_is_no_driver_auto_does_not_import_torch() -> None:
    code = (
        "import sys; from rowcast_server import placement\n"
        "placement._driver_has_devices = lambda: False\n"
        "print(placement.place('auto').by_onnx, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    ("device", "dtype", "gpus", "expected"),
    [
        ("auto", None, 0.0, Placement()),
        ("cpu", "int8", 0.0, Placement("cpu", "int8")),
        ("auto", None, 0.5, Placement("cuda", "bfloat16")),
        ("cuda", "float16", 1.0, Placement("cuda", "float16")),
    ],
)
def test_replicas_are_placed_where_they_draw_not_where_they_are_asked_for(
    device: str, dtype: str | None, gpus: float, expected: Placement
) -> None:
    assert place_replicas(device, dtype, DEFAULT_CACHE, gpus) == (expected,)


@pytest.mark.parametrize(
    ("device", "dtype", "gpus", "words"),
    [
        ("cuda", None, 0.0, "cuda with --replica-gpus 1"),
        ("cpu", None, 1.0, "a replica draws on cpu, or on cuda"),
        ("cuda:1", None, 1.0, "--device cuda:1: a replica"),
        ("auto", "int8", 1.0, "int8 is for the CPU"),
    ],
)
def test_replicas_that_cannot_be_are_told(
    device: str, dtype: str | None, gpus: float, words: str
) -> None:
    with pytest.raises(RowcastError, match=words):
        place_replicas(device, dtype, DEFAULT_CACHE, gpus)
