"""What the engine asks of a runner: the one seam between lists and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

# Tokens that `fill` takes at once: with both streams the 32 rows for which ONNX Runtime's MatMul
# was measured to give the same bits.
WINDOW: Final = 16


@dataclass(frozen=True)
class Grid:
    """The token grid a model draws: rows x cols ids below ``codebook_size``."""

    rows: int
    cols: int
    codebook_size: int
    start_token: int

    @property
    def tokens(self) -> int:
        return self.rows * self.cols


class Runner(Protocol):
    """Keeps the text memory and key/value cache of each slot; slots are dense from 0."""

    grid: Grid
    slots: int

    def open(self, slot: int, text_ids: tuple[int, ...]) -> None:
        """Encode a text into the slot."""

    def step(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One step of slots 0 … n-1, each at its own position: [n] ids and positions.

        Returns the conditional and the unconditional logits, each [n, codebook_size] float32,
        valid until the next step.
        """

    def fill(self, slot: int, tokens: NDArray[np.int64], first: int) -> None:
        """Feed given tokens [n] at positions first … first + n - 1, n <= WINDOW, to one slot.

        It leaves the slot as n steps would, to the bit.
        """

    def move(self, source: int, destination: int) -> None:
        """Copy a slot's contents."""
