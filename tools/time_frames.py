"""Print how long a server session takes for each hostile frame.

PYTHONPATH=. python tools/time_frames.py
"""

from __future__ import annotations

import time

from tests.support.fakes import Studio
from tests.support.hostile_frames import FRAMES, answer
from tests.support.lines import greeted

TRIES = 5


def main() -> None:
    """A line for each frame, the slowest first: the least of five times, in milliseconds."""
    times = {}
    for name, frame in FRAMES.items():
        tries = []
        for _ in range(TRIES):
            line = greeted(Studio())
            begin = time.perf_counter()
            answer(line, frame)
            tries.append(time.perf_counter() - begin)
        times[name] = min(tries)
    for name, seconds in sorted(times.items(), key=lambda item: -item[1]):
        print(f"{seconds * 1000:8.3f} ms  {name}")


if __name__ == "__main__":
    main()
