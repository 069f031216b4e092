"""All schemes are timed in turn, each as often as it updates a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rowcast_bench.decode.schemes import Scheme
from rowcast_bench.decode.times import Times, measure

GRID = np.zeros((16, 16), np.int64)


def test_what_is_timed_and_in_which_order() -> None:
    calls: list[tuple[str, int]] = []

    def scheme(name: str, **changes: Any) -> Scheme:
        def paint(grid: np.ndarray) -> np.ndarray:
            calls.append((name, len(grid)))
            return np.zeros((1, 1, 3), np.uint8)

        plain = Scheme(name, name, "full", paint, lambda rows: [0] * rows)
        return replace(plain, **changes)

    schemes = [
        scheme("each row"),
        scheme("each second", every=2),
        scheme("constant", is_constant=True),
    ]
    steps: list[int] = []
    times = measure(schemes, GRID, rounds=2, advance=lambda: steps.append(1))
    assert len(steps) == 2 * 16
    assert {name: (len(each.by_update), each.updates) for name, each in times.items()} == {
        "each row": (16, 16),
        "each second": (8, 8),
        "constant": (4, 16),
    }
    timed = calls[2 * len(schemes) :]  # each has warmed up with few rows, and with all
    assert Counter(name for name, _ in timed) == {
        "each row": 2 * 16,
        "each second": 2 * 8,
        "constant": 2 * 4,
    }
    first, second = timed[: len(timed) // 2], timed[len(timed) // 2 :]
    for turn in (first, second):
        assert [held for name, held in turn if name == "each second"] == [*range(2, 17, 2)]
    at_16 = [name for name, held in first if held == 16]
    at_12 = [name for name, held in first if held == 12]
    assert sorted(at_16) == sorted(at_12)
    assert at_16 != at_12  # nobody is always the first


def test_of_a_picture() -> None:
    times = Times((1.0, 2.0, 9.0), updates=6)
    assert (times.median, times.worst, times.last) == (2.0, 9.0, 9.0)
    assert times.picture == pytest.approx(24)
