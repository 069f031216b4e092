"""The interface between the engine's policy and a runner's tensors.

The engine counts positions and says who draws; a runner holds tensors, ids and sampling, so that a
device may work ahead of the host: no token is read before a whole row is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..network.facts import Grid
from .request import PictureRequest

# Tokens that `fill` takes at once: with both streams the 32 rows for which ONNX Runtime's MatMul
# was measured to give the same bits.
WINDOW: Final = 16
# In place of an id where the model's logits were not finite.
NOT_DRAWN: Final = -1


class PendingRow(Protocol):
    """A row of ids on its way from the device."""

    @property
    def ready(self) -> bool:
        """True if `ids` returns at once."""

    def ids(self) -> NDArray[np.int64]:
        """Wait for the ids [cols] int64; NOT_DRAWN where the logits were not finite."""


@dataclass(frozen=True)
class DrawnRow:
    """A row that is on the host already: the `PendingRow` of a runner that waits for its own
    steps."""

    values: NDArray[np.int64]
    ready: bool = True

    def ids(self) -> NDArray[np.int64]:
        return self.values


class Runner(Protocol):
    """Holds each slot's text, caches, ids and sampling; slots are dense from 0.

    A slot's result depends only on its request (torch: also on the batch bucket).
    """

    grid: Grid
    slots: int

    def open(self, slot: int, request: PictureRequest) -> None:
        """Give a slot to a picture: encode its text, take its sampling parameters and its
        prefix."""

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw in slots 0 … n-1, each from its own position [n] int64; returns the number of
        positions that each advanced by, [n], at least 1.

        At the positions of its prefix a slot is fed the given tokens and draws nothing.
        """

    def fill(self, slot: int, first: int, count: int) -> None:
        """Feed the given tokens of positions first … first + count - 1 at once (prefill), count <=
        WINDOW.

        It leaves the slot as ``count`` steps would: bit by bit on the CPU runner, up to rounding on
        the torch runner.
        """

    def row(self, slot: int, row: int) -> PendingRow:
        """A row whose last token a step has drawn; later steps do not change it."""

    def move(self, source: int, destination: int) -> None:
        """Copy a slot's contents over another slot."""
