"""Schedule of a training: its options, progress by steps or minutes, and a clean stop.

This module must not know torch, nor what is trained.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
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


class Schedule:
    """Progress from 0 to 1 by ``steps`` or by ``minutes``, whichever comes first.

    The learning rate rises to ``peak`` in ``warmup`` steps and falls on a cosine to the share
    ``lowest`` of it. Where one is resumed, ``step`` and ``seconds`` are set before ``begin``.
    """

    def __init__(
        self, peak: float, steps: int, minutes: float, warmup: int, lowest: float = 0.02
    ) -> None:
        self.peak, self.steps, self.minutes = peak, steps, minutes
        self.warmup, self.lowest = warmup, lowest
        self.step = 0
        self.seconds = 0.0  # of training so far, over all resumes
        self.begin()

    def begin(self) -> None:
        """Start the clock."""
        self._start = time.monotonic() - self.seconds

    def advance(self) -> None:
        """Count a step that was taken."""
        self.step += 1
        self.seconds = time.monotonic() - self._start

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return min(1.0, max(self.step / self.steps, self.seconds / 60 / self.minutes))

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        cosine = self.lowest + (1 - self.lowest) * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.peak * min(1.0, (self.step + 1) / self.warmup) * cosine


@contextlib.contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Yield a function: True once Ctrl-C or SIGTERM came. A second one raises KeyboardInterrupt."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():  # signals go nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, ask))
        yield lambda: asked
