"""The torch runner: a step with its sampler runs wholly on the device, on CUDA as one graph.

Batch rows come in pairs, 2 i the conditional and 2 i + 1 the unconditional stream of slot i. The
bits of logits may depend on a batch's shape, so shapes are few and fixed: n pictures are drawn as
the smallest bucket of at least n slots. The surplus rows write into slots that no picture has, and
nobody reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..families.choosing_torch import torch_slots
from ..network.facts import Network
from .devices_torch import Device
from .request import PictureRequest
from .runner import PendingRow
from .sampling_torch import TorchSampler


def powers_of_two(slots: int) -> tuple[int, ...]:
    """1, 2, 4, … below ``slots``, and ``slots``."""
    return (*(1 << power for power in range((slots - 1).bit_length())), slots)


class TorchRunner:
    """Draws with what the model's family holds in its slots (families/torch_slots.py).

    ``slots`` pictures are drawn at once; all memory is taken here, all graphs are made here.
    ``dtype`` is torch's name of one. ``buckets`` are the batch sizes, ascending, the last one
    ``slots``; with that one alone, all steps are of one shape.
    """

    def __init__(
        self,
        network: Network,
        slots: int,
        device: Device,
        dtype: str = "float32",
        buckets: Sequence[int] | None = None,
    ) -> None:
        self.grid, self.slots = network.grid, slots
        self._device = device
        kind: torch.dtype = getattr(torch, dtype)
        self.held = torch_slots(network, slots, device.torch, kind, device.upload, device.fused)
        self._sampler = TorchSampler(slots, self.grid.codebook_size, device)
        self._positions = self._integers(slots)
        # Behind the start token, so that what is fed at a position stands at its index.
        self._ids = self._integers(slots, self.held.positions + 1)
        self._ids[:, 0] = self.grid.start_token
        self._given = self._integers(slots)  # tokens of the prefix
        self._buckets = tuple(buckets or powers_of_two(slots))
        assert self._buckets[-1] == slots
        self._steps = {
            (bucket, sort): device.prepared(partial(self._draw_on, bucket, sort))
            for bucket in reversed(self._buckets)  # the largest first: the others fit its memory
            for sort in (False, True)
        }

    def _integers(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device.torch)

    def open(self, slot: int, request: PictureRequest) -> None:
        self.held.forget(slot)
        self.held.read(slot, request.text_ids)
        self._sampler.open(slot, request)
        given = 0
        if request.prefix is not None:
            given = request.prefix.size
            prefix = np.ascontiguousarray(request.prefix.reshape(-1), np.int64)
            self._device.upload(prefix, self._ids[slot, 1 : 1 + given])
        self._device.upload(np.array(given), self._given[slot])

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        bucket = self._place(positions)
        self._steps[bucket, self._sampler.must_sort(len(positions))]()
        return np.ones(len(positions), np.int64)

    def _place(self, positions: NDArray[np.int64]) -> int:
        """Upload the positions; returns the bucket that holds them."""
        bucket = next(size for size in self._buckets if size >= len(positions))
        padded = np.zeros(bucket, np.int64)
        padded[: len(positions)] = positions
        self._device.upload(padded, self._positions[:bucket])
        return bucket

    def _draw_on(self, bucket: int, sort: bool) -> None:
        """One step of the first ``bucket`` slots, from and to this runner's tensors alone: it is
        captured."""
        positions = self._positions[:bucket]
        with self._device.aside():
            noise = self._sampler.noise(positions)
        ids, place = self._ids[:bucket], positions[:, None]
        fed = ids.gather(1, place).clamp_min(0)  # after broken logits, anything will do
        logits = self._logits(fed, bucket)
        self._device.join()
        drawn = self._sampler.draw(logits, noise, sort)[:, None]
        is_given = place < self._given[:bucket, None]
        ids.scatter_(1, place + 1, torch.where(is_given, ids.gather(1, place + 1), drawn))

    def _logits(self, fed: Tensor, bucket: int) -> Tensor:
        """Feed ids [bucket, 1] at the uploaded positions -> guided logits [bucket, codes]."""
        both = self._positions[:bucket, None].expand(-1, 2).reshape(-1, 1)
        tokens = fed.expand(-1, 2).reshape(-1, 1)
        states = self.held.feed(tokens, both, 0)
        return self.held.guided_logits(states[:, 0], self._sampler.guidance[:bucket])

    def logits(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Feed tokens [n] at positions [n] to slots 0 … n-1, and wait for the guided logits of what
        comes next, [n, codebook_size] float32."""
        bucket = self._place(positions)
        padded = np.zeros((bucket, 1), np.int64)
        padded[: len(tokens), 0] = tokens
        fed = self._integers(bucket, 1)
        self._device.upload(padded, fed)
        logits: NDArray[np.float32] = self._logits(fed, bucket)[: len(tokens)].cpu().numpy()
        return logits

    def fill(self, slot: int, first: int, count: int) -> None:
        tokens = self._ids[slot, first : first + count].expand(2, -1)
        positions = torch.arange(first, first + count, device=self._device.torch).expand(2, -1)
        self.held.feed(tokens, positions, 2 * slot)

    def row(self, slot: int, row: int) -> PendingRow:
        first = 1 + row * self.grid.cols
        return self._device.download(self._ids[slot, first : first + self.grid.cols])

    def move(self, source: int, destination: int) -> None:
        self.held.move(source, destination)
        self._ids[destination] = self._ids[source]
        self._given[destination] = self._given[source]
        self._sampler.move(source, destination)
