"""How fast this machine reads memory, and how much of it a process takes."""

from __future__ import annotations

import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

READ_BYTES = 1 << 30


def read_gigabytes_per_second(threads: int, repeats: int = 5) -> float:
    """The best rate of ``threads`` threads that sum a gibibyte of float32, far over any cache."""
    values = np.ones(READ_BYTES // 4, np.float32)
    parts = np.array_split(values, threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            begun = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, READ_BYTES / (time.perf_counter() - begun) / 1e9)
    return best


def resident_bytes() -> int:
    """Resident memory of this process now; where /proc is missing, its peak."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most that was ever resident in this process.

    From /proc where there is one: getrusage counts what the process was before it was this program.
    """
    counted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return _status("VmHWM") or (counted if sys.platform == "darwin" else 1024 * counted)


def _status(field: str) -> int:
    """A size of /proc/self/status in bytes, 0 where it is not told."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)
