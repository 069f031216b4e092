"""Times of a picture's updates: all schemes in turn, row by row, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .schemes import Scheme

CONSTANT_AT: Final = 4  # updates of a picture that are timed where all cost the same
WARM_UP_ROWS: Final = 2


@dataclass(frozen=True)
class Times:
    """Medians over the rounds in milliseconds, of each update that was timed; ``updates`` is how
    many a picture has."""

    by_update: tuple[float, ...]
    updates: int

    @property
    def median(self) -> float:
        """The median update."""
        return statistics.median(self.by_update)

    @property
    def worst(self) -> float:
        """The slowest update."""
        return max(self.by_update)

    @property
    def picture(self) -> float:
        """All updates of a picture."""
        return statistics.fmean(self.by_update) * self.updates

    @property
    def last(self) -> float:
        """The update with all rows."""
        return self.by_update[-1]


def measure(
    schemes: Sequence[Scheme],
    grid: NDArray[np.int64],
    rounds: int,
    tell: Callable[[str], object] = lambda text: None,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Times]:
    """Paint ``grid`` [rows, cols] ``rounds`` times from its first row to its last, by name.

    After each row every scheme paints, and another one is the first each time. ``advance`` is
    called ``rounds`` x rows times.
    """
    rows = len(grid)
    for scheme in schemes:
        tell(f"warming up: {scheme.label}")
        for held in (WARM_UP_ROWS, rows):
            scheme.paint(grid[:held])
    taken: dict[str, dict[int, list[float]]] = {scheme.name: {} for scheme in schemes}
    for turn in range(rounds):
        for held in range(1, rows + 1):
            first = (turn * rows + held) % len(schemes)
            tell(f"round {turn + 1} of {rounds}, row {held} of {rows}")
            for scheme in (*schemes[first:], *schemes[:first]):
                if held in _timed(scheme, rows):
                    milliseconds = _milliseconds(scheme, grid[:held])
                    taken[scheme.name].setdefault(held, []).append(milliseconds)
            advance()
    return {
        scheme.name: Times(
            tuple(statistics.median(each) for each in taken[scheme.name].values()),
            rows // scheme.every,
        )
        for scheme in schemes
    }


def _timed(scheme: Scheme, rows: int) -> range:
    """The numbers of rows held, after which an update is timed."""
    step = max(scheme.every, rows // CONSTANT_AT) if scheme.is_constant else scheme.every
    return range(step, rows + 1, step)


def _milliseconds(scheme: Scheme, grid: NDArray[np.int64]) -> float:
    begun = time.perf_counter()
    scheme.paint(grid)
    return 1e3 * (time.perf_counter() - begun)
