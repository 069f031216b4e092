"""What the torch runner needs of a model family: texts into slots, and a pass over rows' tokens.

Batch rows come in pairs, 2 i the conditional and 2 i + 1 the unconditional stream of slot i.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

Upload = Callable[[NDArray[Any], Tensor], None]  # an array over a tensor, as the device can


class TorchSlots(ABC):
    """The weights of a model and the memory of its slots, on a device. ``positions`` is the most
    tokens of a picture, ``memory`` the caches, as the family lays them out."""

    positions: int
    memory: Any

    @abstractmethod
    def read(self, slot: int, text_ids: tuple[int, ...]) -> None:
        """Give a slot, whose caches are clean, a text."""

    @abstractmethod
    def forget(self, slot: int) -> None:
        """Zero a slot's caches. Masks hide stale places, but 0 x NaN is NaN."""

    @abstractmethod
    def feed(self, tokens: Tensor, positions: Tensor, first: int) -> Tensor:
        """Feed ids [rows, n] at the picture's positions [rows, n] to batch rows ``first`` … ->
        float32 states [rows, n, width]. Nothing depends on values: it may be captured."""

    @abstractmethod
    def guided_logits(self, states: Tensor, guidance: Tensor) -> Tensor:
        """States of pairs of rows [2 pictures, width] and guidance s [pictures] -> float32 logits
        [pictures, codes] of u + s (c - u)."""

    @abstractmethod
    def move(self, source: int, destination: int) -> None:
        """Copy a slot over another."""
