"""`rowcast bench NAME`: each benchmark states its conditions and ends with one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version

from rich.console import Console

BENCHMARKS = ("wire",)


def bench(arguments: list[str]) -> int:
    """Measure: bytes and delays, side by side with a peer in one run."""
    parser = argparse.ArgumentParser(
        prog="rowcast bench",
        description="Run a benchmark. The last line of its output is one line of JSON.",
        epilog="wire   what a picture costs on a real socket, against pictures sent whole",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--model", default="postcard", help="postcard, or a model folder")
    parser.add_argument("--pictures", type=int, default=8, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    console = Console(stderr=True)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {version('onnxruntime')}, websockets {version('websockets')}",
        highlight=False,
        soft_wrap=True,
    )
    from .wire import run

    print(json.dumps(run(options.model, options.pictures, console)))
    return 0
