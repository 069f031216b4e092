"""`rowcast bench export`: how long a decoder of DALL·E Mini's size takes, and how large it gets.

A decoder of random weights is exported and verified as `rowcast export` does it, in a process of
its own, in all precisions.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rowcast_export.cli import export
from rowcast_export.vqgan import VQGANDecoder
from safetensors.torch import save_file

from .decode.files import F16, QUICK, random_module
from .engine.memory import peak_bytes
from .engine.worker import run_apart
from .markdown import table
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
    """Export a checkpoint in a process of its own. Raises RowcastError where that fails."""
    words = [str(checkpoint), "-o", str(out), "--precision", PRECISIONS, "--threads", str(threads)]
    exported: Exported = run_apart(_export, words, out)
    return exported


def _export(words: list[str], out: Path) -> Exported:
    begun, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        export(words)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    files = json.loads((out / "manifest.json").read_text("utf-8"))["files"]
    return Exported(seconds, cpu, peak_bytes(), {each["file"]: each["bytes"] for each in files})


def run(console: Console, threads: int, quick: bool) -> tuple[dict[str, Any], str]:
    """Export a decoder of random weights; ``quick``: a small one with as many codes."""
    stages = ["random weights", "exporting and verifying"]
    with tempfile.TemporaryDirectory() as folder, Progress(console, stages) as progress:
        progress.stage(stages[0])
        checkpoint = Path(folder, "decoder.safetensors")
        save_file(random_module(VQGANDecoder, QUICK if quick else F16).state_dict(), checkpoint)
        progress.stage(stages[1])
        found = measure(checkpoint, Path(folder, "out"), threads)
    figures = {
        "threads": threads,
        "seconds": round(found.seconds, 1),
        "cpu_seconds": round(found.cpu_seconds, 1),
        "peak_mb": round(found.peak_bytes / MEGABYTE),
        "bytes": found.sizes,
    }
    files = [(name, f"{size / MEGABYTE:,.2f}") for name, size in found.sizes.items()]
    text = (
        f"Exporting all of them, each verified, takes {found.seconds:.0f} s "
        f"({found.cpu_seconds:.0f} of CPU) and {found.peak_bytes / 1e9:.1f} GB of memory, on "
        f"{threads} threads."
    )
    decoder = "a small decoder" if quick else "a decoder of DALL·E Mini's size"
    return figures, f"{table((f'file of {decoder}', 'MB'), files)}\n\n{text}"
