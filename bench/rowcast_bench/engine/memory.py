"""Memory that a process takes, as its operating system counts it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def anonymous_bytes() -> int:
    """Resident memory of this process that no file backs; 0 where /proc is missing."""
    return _status("RssAnon")


def resident_bytes() -> int:
    """Resident memory of this process now; where /proc is missing, its peak."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most that was ever resident in this process.

    From /proc where there is one: getrusage counts what the process was before it was this program.
    """
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return _status("VmHWM") or (most if sys.platform == "darwin" else 1024 * most)


def _status(field: str) -> int:
    """A size of /proc/self/status in bytes, 0 where it is not told."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)
