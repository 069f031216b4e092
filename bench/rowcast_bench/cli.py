"""`rowcast bench NAME`: each benchmark states its conditions and ends with one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_server.placement import DTYPES


def bench(arguments: list[str]) -> int:
    """Measure: bytes, delays and speed, side by side with a peer in one run."""
    parser = argparse.ArgumentParser(
        prog="rowcast bench",
        description="Run a benchmark. It states its conditions; the last line of its output is one "
        "line of JSON.",
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    wire = names.add_parser(
        "wire", help="what a picture costs on a real socket, against pictures sent whole"
    )
    wire.add_argument("--model", default="postcard", help="postcard, or a model folder")
    wire.add_argument("--pictures", type=int, default=8, help="default: %(default)s")
    engine = names.add_parser(
        "engine",
        help="tokens a second, against min-dalle on the same random weights",
        description="Draws with min-dalle 0.4.11 from PyPI and with this engine, in turn, on the "
        "same random weights of real size (written once into the cache folder, 0.9 GB for Mini; "
        "about 8 GB of memory). Takes some minutes. With --against, compares this engine with "
        "another revision of itself instead.",
    )
    engine.add_argument(
        "--size", choices=("small", "mini", "mega"), default="mini", help="default: %(default)s"
    )
    engine.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    engine.add_argument(
        "--rows",
        type=int,
        default=2_100,
        help="rows of 16 jobs timed from sampling to the socket; 0 leaves that out "
        "(default: %(default)s)",
    )
    engine.add_argument(
        "--against", metavar="REVISION", help="a git revision of this repository to compare with"
    )
    engine.add_argument(
        "--device", default="cpu", help="cuda draws whole pictures there (default: %(default)s)"
    )
    engine.add_argument("--dtype", choices=DTYPES, help="with --device (default: the device's)")
    decode = names.add_parser(
        "decode",
        help="every tier of pixels, full decodes after each row, and min-dalle's way",
        description="What an update of a forming picture costs, on a decoder of DALL·E Mini's "
        "size with random weights, and how good it looks, on pictures that postcard draws. Takes "
        "some minutes.",
    )
    decode.add_argument("--quick", action="store_true", help="a small decoder, few repetitions")
    decode.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    decode.add_argument("--rounds", type=int, help="times that each scheme draws a picture")
    decode.add_argument("--pictures", type=int, help="held-out pictures for quality")
    decode.add_argument(
        "--sheet",
        type=Path,
        default=Path("decode-sheet.png"),
        help="where a contact sheet of all schemes is written (default: %(default)s)",
    )
    decode.add_argument(
        "--fillers",
        action="store_true",
        help="only compare guesses at the rows to come, below those that a full decode shows",
    )
    options = parser.parse_args(arguments)
    for name in ("pictures", "threads", "rounds"):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1")
    console = Console(stderr=True)
    console.print(
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {version('onnxruntime')}, websockets {version('websockets')}",
        highlight=False,
        soft_wrap=True,
    )
    print(json.dumps(_run(options, console)))
    return 0


def _run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    if options.name == "wire":
        from . import wire

        return wire.run(options.model, options.pictures, console)
    if options.name == "decode":
        return _decode(options, console)
    if options.against is not None:
        from .engine import revisions

        return revisions.run(options.against, options.size, options.threads, console)
    if (options.device, options.dtype) != ("cpu", None):
        from .engine import gpu

        where = options.device, options.dtype
        return gpu.run(options.size, *where, options.threads, console)
    from .engine import run as engine

    return engine.run(options.size, options.threads, options.rows, console)


def _decode(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    try:
        from .decode import run as decode
    except ModuleNotFoundError as error:
        raise RowcastError(
            f"`rowcast bench decode` needs {error.name}: pip install 'rowcast[bench,export]', and "
            "'rowcast[peer]' for min-dalle beside it"
        ) from error
    effort = decode.BRIEF if options.quick else decode.THOROUGH
    effort = replace(
        effort,
        rounds=options.rounds or effort.rounds,
        pictures=options.pictures or effort.pictures,
    )
    if options.fillers:
        return decode.run_fillers(options.threads, effort.pictures, console)
    return decode.run(options.threads, effort, options.sheet, console)


def _processor() -> str:
    """The processor's name where /proc tells it, else its architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
