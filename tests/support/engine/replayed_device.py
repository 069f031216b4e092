"""CUDA graphs without CUDA: what is prepared is recorded once, then the operations alone run again.

As in a graph, an operation reads and writes the tensors that it had when it was recorded, and no
line of Python runs between two of them. An operation that would make the host wait is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from rowcast_server.engine.devices_torch import Device, Work
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Values that reach the host, sizes that depend on values, constants that come from the host.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::lift_fresh",
}


class WouldWait(AssertionError):
    """A captured operation must not wait for the host."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func._schema.name
        by_truth = name in ("aten::index", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITING or by_truth:
            raise WouldWait(name)
        result = func(*args, **kwargs or {})
        self._calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self._calls:
            returns = func._schema.returns
            if any(each.alias_info and not each.alias_info.is_write for each in returns):
                continue  # a view: an address, not work
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor):
                        old.copy_(new)


class ReplayedDevice(Device):
    """The CPU, with graphs as CUDA has them."""

    def prepared(self, work: Work) -> Work:
        recorder = _Recorder()
        with recorder:
            work()
        return recorder.replay
