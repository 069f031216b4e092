"""The order of what is asked of CUDA, with a fake in its place; the CPU's device in truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
import torch
from rowcast_server.engine.devices_torch import CopiedRow, CudaDevice, Device, compiled, device_of


class FakeStream:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: FakeStream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class FakeGraph:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def replay(self) -> None:
        self.log.append("replay")


class FakeCuda:
    """Streams and a graph that only say what happens, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = FakeStream(self.log, "main")
        self._streams = iter(["side", "warm-up"])

    def stream_of(self, device: torch.device | None = None) -> FakeStream:
        return FakeStream(self.log, next(self._streams))

    def current_stream(self, device: torch.device | None = None) -> FakeStream:
        return self.current

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def graph(self, graph: FakeGraph, pool: str, capture_error_mode: str) -> Iterator[None]:
        self.log.append(f"capture into {pool}, {capture_error_mode}")
        with self.stream(FakeStream(self.log, "capture")):
            yield
        self.log.append("captured")

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(f"on {device}")
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for name, value in {
        "Stream": fake.stream_of,
        "current_stream": fake.current_stream,
        "stream": fake.stream,
        "graph": fake.graph,
        "device": fake.device,
        "CUDAGraph": lambda: FakeGraph(fake.log),
        "graph_pool_handle": lambda: "pool",
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", value)
    return fake


def test_work_is_warmed_up_apart_then_captured_and_only_replayed(cuda: FakeCuda) -> None:
    device = CudaDevice("cuda:1")

    def work() -> None:
        cuda.log.append(f"work on {cuda.current.name}")

    prepared = device.prepared(work)
    prepared()
    prepared()
    assert cuda.log == [
        "on cuda:1",
        "warm-up waits for main",
        "work on warm-up",
        "work on warm-up",
        "main waits for warm-up",
        "capture into pool, thread_local",
        "work on capture",
        "captured",
        "replay",
        "replay",
    ]


def test_what_is_done_aside_begins_after_what_was_before_and_ends_before_what_follows(
    cuda: FakeCuda,
) -> None:
    device = CudaDevice("cuda")
    with device.aside():
        cuda.log.append(f"work on {cuda.current.name}")
    cuda.log.append(f"work on {cuda.current.name}")
    device.join()
    assert cuda.log == [
        "side waits for main",
        "work on side",
        "work on main",
        "main waits for side",
    ]


class FakeEvent:
    def __init__(self, host: torch.Tensor) -> None:
        self.host, self.reached = host, False

    def query(self) -> bool:
        return self.reached

    def synchronize(self) -> None:
        self.host.copy_(torch.tensor([4, 5]))
        self.reached = True


def test_a_copied_row_is_ready_with_its_event_and_its_ids_are_waited_for() -> None:
    host = torch.zeros(2, dtype=torch.int64)
    row = CopiedRow(host, cast(torch.cuda.Event, FakeEvent(host)))
    assert not row.ready
    assert row.ids().tolist() == [4, 5]
    assert row.ready


def test_the_cpu_uploads_and_downloads_copies() -> None:
    device, tensor = Device("cpu"), torch.zeros(3, dtype=torch.int64)
    array = np.array([1, 2, 3])
    device.upload(array, tensor)
    row = device.download(tensor)
    array[:], tensor[:] = 7, 8
    assert row.ready
    assert row.ids().tolist() == [1, 2, 3]


def test_a_name_makes_the_device_of_its_kind(cuda: FakeCuda) -> None:
    assert type(device_of("cpu")) is Device
    assert isinstance(device_of("cuda:1"), CudaDevice)
    assert device_of("mps").torch.type == "mps"


def doubled(values: torch.Tensor) -> torch.Tensor:
    return 2 * values


def test_a_function_that_cannot_be_compiled_runs_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def compile_nothing(function: object, **_: Any) -> Any:
        def fail(*arguments: Any) -> None:
            tries.append(arguments)
            raise RuntimeError("there is no C compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    function = compiled(doubled)
    assert [function(torch.tensor(each)).item() for each in (1, 2)] == [2, 4]
    assert len(tries) == 1
    (record,) = caplog.records
    assert record.getMessage() == "doubled is not compiled, and slower: there is no C compiler"
