"""What the engine asks of a runner: the one seam between policy and tensors.

The engine counts positions and says who draws; a runner holds tensors, ids and sampling, so that a
device may work ahead of the host: nothing drawn is read before a whole row is there.
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
# Texts whose encoding a runner keeps: a prompt is often asked for again.
REMEMBERED_TEXTS: Final = 64
# In place of an id where the model's logits were not finite.
NOT_DRAWN: Final = -1


class PendingRow(Protocol):
    """A row of ids on its way from the device."""

    @property
    def ready(self) -> bool:
        """Whether `ids` returns at once."""

    def ids(self) -> NDArray[np.int64]:
        """The ids [cols], waited for; NOT_DRAWN where the logits were not finite."""


@dataclass(frozen=True)
class DrawnRow:
    """A row that is there already: a `PendingRow` of a runner that waits for its own steps."""

    values: NDArray[np.int64]
    ready: bool = True

    def ids(self) -> NDArray[np.int64]:
        return self.values


class Runner(Protocol):
    """Keeps the text, what was fed, ids and sampling of each slot; slots are dense from
    0. What happens in a slot depends on its request alone, never on the others; on the torch
    runner, on the bucket too, by how many there are."""

    grid: Grid
    slots: int

    def open(self, slot: int, request: PictureRequest) -> None:
        """Give a slot to a picture: encode its text, note its sampling and its prefix."""

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw on in slots 0 … n-1, each from its own position [n]; returns, [n] and at least 1,
        by how many positions each got on.

        At the positions of its prefix a slot is fed what is given and draws nothing.
        """

    def fill(self, slot: int, first: int, count: int) -> None:
        """Feed the given tokens of positions first … first + count - 1, count <= WINDOW, at once.

        It leaves the slot as ``count`` steps would: on the CPU runner to the bit, on the torch
        runner to what rounding leaves.
        """

    def row(self, slot: int, row: int) -> PendingRow:
        """A row whose last token was drawn by a step; later steps do not change it."""

    def move(self, source: int, destination: int) -> None:
        """Copy a slot's contents."""
