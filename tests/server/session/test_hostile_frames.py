"""What a stranger's frame may cost: memory here; `python -m tests.soak refusals` has the times."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.support.fakes import Studio
from tests.support.hostile_frames import FRAMES, answer
from tests.support.lines import greeted

MOST_BYTES = 256 * 1024


@pytest.mark.parametrize("name", FRAMES)
def test_no_frame_takes_much_memory(studio: Studio, name: str) -> None:
    line = greeted(studio)
    answer(line, FRAMES[name])  # what is read or compiled once is no frame's cost
    line = greeted(Studio())
    tracemalloc.start()
    try:
        answer(line, FRAMES[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES
