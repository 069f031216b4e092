"""Options of a distillation, and their defaults. This module must not know torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DistillOptions:
    """Length, size and place of a training. It ends after ``steps`` or ``minutes``, if sooner."""

    steps: int = 20_000
    minutes: float = math.inf  # of training, over all times it was taken up
    batch: int = 8  # grids a step
    learning_rate: float = 2e-3  # at its highest
    seed: int = 0
    device: str = "cpu"  # as torch calls it
