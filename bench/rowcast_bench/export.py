"""`rowcast bench export`: how long a decoder of DALL·E Mini's size takes, and how large it gets.

A decoder of random weights is exported and verified by the `rowcast export` command, in a process
of its own, in all precisions.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rowcast.errors import RowcastError
from safetensors.torch import save_file

from .decode.files import F16, QUICK, random_decoder
from .engine.memory import children_peak_bytes
from .progress import Progress

PRECISIONS: Final = "fp32,fp16,int8"
MEGABYTE: Final = 1e6


@dataclass(frozen=True)
class Exported:
    """One export: seconds, CPU seconds, most memory in bytes, and the bytes of each file."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    sizes: dict[str, int]


def measure(checkpoint: Path, out: Path, threads: int) -> Exported:
    """Run `rowcast export` on a checkpoint. Raises RowcastError where it fails."""
    command = [sys.executable, "-m", "rowcast", "export", str(checkpoint), "-o", str(out)]
    command += ["--precision", PRECISIONS, "--threads", str(threads)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise RowcastError(f"the export of {checkpoint} failed; its message stands above")
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = json.loads((out / "manifest.json").read_text("utf-8"))["files"]
    return Exported(
        seconds,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        children_peak_bytes(),
        {entry["file"]: entry["bytes"] for entry in files},
    )


def run(threads: int, quick: bool, console: Console) -> dict[str, Any]:
    """Export and show; returns the figures. ``quick``: a small decoder with as many codes."""
    stages = ["random weights", "exporting and verifying"]
    with tempfile.TemporaryDirectory() as folder, Progress(console, stages) as progress:
        progress.stage(stages[0])
        checkpoint = Path(folder, "decoder.safetensors")
        save_file(random_decoder(QUICK if quick else F16).state_dict(), checkpoint)
        progress.stage(stages[1])
        found = measure(checkpoint, Path(folder, "out"), threads)
    table = Table("file", "MB")
    for name, size in found.sizes.items():
        table.add_row(name, f"{size / MEGABYTE:,.2f}")
    console.print(table)
    console.print(
        f"{found.seconds:.0f} s ({found.cpu_seconds:.0f} of CPU), {found.peak_bytes / 1e9:.1f} GB",
        highlight=False,
    )
    return {
        "threads": threads,
        "seconds": round(found.seconds, 1),
        "cpu_seconds": round(found.cpu_seconds, 1),
        "peak_mb": round(found.peak_bytes / MEGABYTE),
        "bytes": found.sizes,
    }
