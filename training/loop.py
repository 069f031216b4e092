"""Training loops: their schedule, averaged weights, checkpoints and a clean stop."""

from __future__ import annotations

import copy
import math
import signal
import time
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rowcast.whole_files import whole_file
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Schedule:
    """Progress from 0 to 1 by steps or by minutes, whichever comes first, and the learning rate."""

    def __init__(self, peak: float, steps: int, minutes: float, warmup: int) -> None:
        self.peak, self.steps, self.minutes, self.warmup = peak, steps, minutes, warmup
        self.step = 0
        self.seconds_before = 0.0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall seconds of training so far, over all resumes."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return min(1.0, max(self.step / self.steps, self.seconds / 60 / self.minutes))

    @property
    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine down to 2 % of the peak."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.peak * min(1.0, (self.step + 1) / self.warmup) * cosine


class Average(Generic[M]):
    """Exponential moving average of a module's weights, faster in the first steps."""

    def __init__(self, module: M, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: M, step: int) -> None:
        """Move the average towards the module."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)


class StopFlag:
    """Turns the first Ctrl-C or SIGTERM into a request to save and stop; a second one kills."""

    def __init__(self) -> None:
        self.raised = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._raise)

    def _raise(self, number: int, _frame: object) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True
        print("stopping after this step; press again to stop at once", flush=True)


def save_checkpoint(path: Path, **state: Any) -> None:
    """Write atomically: a stop in the middle leaves the previous checkpoint whole."""
    with whole_file(path, make_folders=True) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what save_checkpoint wrote; weights and plain values only."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
