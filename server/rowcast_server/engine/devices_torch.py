"""Devices of torch: where tensors live, and how work and rows travel, synchronously or on CUDA
streams.

Knows nothing of models or sampling. The differences between devices are here and nowhere else, so
that all other code of the torch runner is the same on every device and tested on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .runner import DrawnRow, PendingRow

logger = logging.getLogger(__name__)

Work = Callable[[], None]
Function = Callable[..., Tensor]
MOST_SHAPES: Final = 256  # of a compiled function's arguments, in this process


class Device:
    """The CPU or MPS: work runs when it is called, and a copy to the host is waited for."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)

    def upload(self, values: NDArray[Any], destination: Tensor) -> None:
        """Write an array over a tensor of the same shape and dtype."""
        destination.copy_(torch.from_numpy(values))

    def download(self, tensor: Tensor) -> PendingRow:
        """The ids [n] as they are once the work asked for so far is done."""
        return DrawnRow(tensor.to("cpu", copy=True).numpy())

    def prepared(self, work: Work) -> Work:
        """Work made ready to be repeated, by running it once. It must only read and write
        tensors that stay in place, and must not read a value to the host."""
        work()
        return work

    def fused(self, work: Function) -> Function:
        """The same function of tensors in fewer kernels, if the device has them made."""
        return work

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work inside runs on a side stream, concurrent with later work until `join`."""
        yield

    def join(self) -> None:
        """Have later work on the device wait for the side stream; the host does not wait."""


@dataclass(frozen=True)
class CopiedRow:
    """A row on its way into pinned host memory."""

    host: Tensor
    copied: torch.cuda.Event

    @property
    def ready(self) -> bool:
        return bool(self.copied.query())  # type: ignore[no-untyped-call]

    def ids(self) -> NDArray[np.int64]:
        self.copied.synchronize()
        ids: NDArray[np.int64] = self.host.numpy()
        return ids


class CudaDevice(Device):
    """CUDA: prepared work is a CUDA graph, and the host waits for a copy in `CopiedRow.ids`
    alone."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._side = torch.cuda.Stream(self.torch)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at once: one memory for all

    def upload(self, values: NDArray[Any], destination: Tensor) -> None:
        # torch's allocator gives pinned memory away again only after the copies out of it.
        destination.copy_(torch.from_numpy(values).pin_memory(), non_blocking=True)

    def download(self, tensor: Tensor) -> PendingRow:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(self.torch))
        return CopiedRow(host, copied)

    def fused(self, work: Function) -> Function:
        return compiled(work)

    def prepared(self, work: Work) -> Work:
        with torch.cuda.device(self.torch):
            # cuBLAS takes its memory in the first runs, which must not be captured.
            warm_up = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            warm_up.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(warm_up):
                for _ in range(2):
                    work()
            torch.cuda.current_stream().wait_stream(warm_up)
            graph = torch.cuda.CUDAGraph()
            # Another thread may use CUDA meanwhile: only what this one does is captured.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        return graph.replay

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._side.wait_stream(torch.cuda.current_stream(self.torch))
        with torch.cuda.stream(self._side):
            yield

    def join(self) -> None:
        torch.cuda.current_stream(self.torch).wait_stream(self._side)


def compiled(function: Function) -> Function:
    """The function compiled for each shape of its arguments, at its first call with them.

    Where it cannot be (Triton needs a C compiler), that is logged, and it runs as it is.
    """
    import torch._dynamo  # here: it takes seconds, and only where there is a GPU

    torch._dynamo.config.recompile_limit = MOST_SHAPES
    made: Function = torch.compile(function, fullgraph=True, dynamic=False)

    def called(*arguments: Any) -> Tensor:
        nonlocal made
        try:
            return made(*arguments)
        except (RuntimeError, OSError) as error:  # those of torch.compile are RuntimeErrors
            logger.warning("%s is not compiled, and slower: %s", function.__name__, error)
            made = function
            return function(*arguments)

    return called


def device_of(name: str) -> Device:
    """The device ``cpu``, ``mps``, ``cuda`` or ``cuda:N``. Raises RuntimeError where torch knows
    no such."""
    return CudaDevice(name) if name.startswith("cuda") else Device(name)


def free_bytes(device: str) -> int:
    """Bytes that are free on a CUDA device."""
    free: int = torch.cuda.mem_get_info(torch.device(device))[0]
    return free
