"""`rowcast bench NAME`: each benchmark states its conditions and ends with one line of JSON."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_server.config import usable_cores
from rowcast_server.placement import DTYPES

from .machine import describe

Figures = dict[str, Any]
NUMBERS = ("pictures", "threads", "rounds")  # options that are at least 1


def bench(arguments: list[str]) -> int:
    """Measure: bytes, delays and speed, side by side with a peer in one run."""
    parser = argparse.ArgumentParser(
        prog="rowcast bench",
        description="Run a benchmark. It states its conditions; the last line of its output is one "
        "line of JSON.",
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for add in (_add_wire, _add_first_paint, _add_engine, _add_loading, _add_decode, _add_export):
        add(names)
    options = parser.parse_args(arguments)
    for name in NUMBERS:
        value = getattr(options, name, None)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1")
    console, machine = Console(stderr=True), describe()
    console.print(
        f"{machine}, Python {platform.python_version()}, "
        f"onnxruntime {version('onnxruntime')}, websockets {version('websockets')}",
        highlight=False,
        soft_wrap=True,
    )
    try:
        figures = options.run(options, console)
    except ModuleNotFoundError as error:
        raise RowcastError(
            f"`rowcast bench {options.name}` needs {error.name}: pip install "
            "'rowcast[bench,export]', and 'rowcast[peer]' for min-dalle beside it"
        ) from error
    conditions = {"machine": machine, "quick": getattr(options, "quick", False)}
    print(json.dumps({**conditions, **figures}))
    return 0


def _add(
    names: Any, name: str, run: Callable[[argparse.Namespace, Console], Figures], **texts: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = names.add_parser(name, **texts)
    parser.set_defaults(run=run)
    return parser


def _add_wire(names: Any) -> None:
    wire = _add(
        names,
        "wire",
        _wire,
        help="bytes of a picture on a real socket, against pictures sent whole",
    )
    wire.add_argument("--model", default="postcard", help="postcard, or a model folder")
    wire.add_argument("--pictures", type=int, default=8, help="default: %(default)s")


def _wire(options: argparse.Namespace, console: Console) -> Figures:
    from . import wire

    return wire.run(options.model, options.pictures, console)


def _add_first_paint(names: Any) -> None:
    paint = _add(
        names, "first-paint", _first_paint, help="from the bytes of a row to an image that shows it"
    )
    paint.add_argument("--pictures", type=int, default=200, help="default: %(default)s")


def _first_paint(options: argparse.Namespace, console: Console) -> Figures:
    from . import first_paint

    return first_paint.run(options.pictures, console)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", choices=("small", "mini", "mega"), default="mini", help="default: %(default)s"
    )


def _add_threads(parser: argparse.ArgumentParser, most: int | None = None) -> None:
    cores = usable_cores()
    default = cores if most is None else min(most, cores)
    parser.add_argument("--threads", type=int, default=default, help="default: %(default)s")


def _add_engine(names: Any) -> None:
    engine = _add(
        names,
        "engine",
        _engine,
        help="tokens a second, against min-dalle on the same random weights",
        description="Draws with min-dalle 0.4.11 from PyPI and with this engine, in turn, on the "
        "same random weights of real size (written once into the cache folder, 0.9 GB for Mini; "
        "about 8 GB of memory). Takes some minutes. With --against, compares this engine with "
        "another revision of itself instead.",
    )
    _add_sizes(engine)
    engine.add_argument("--quick", action="store_true", help="fewer rounds, steps and rows")
    _add_threads(engine)
    engine.add_argument(
        "--rows",
        type=int,
        help="rows of 16 jobs timed from sampling to the socket; 0 leaves that out "
        "(default: 2100, with --quick 128)",
    )
    engine.add_argument(
        "--against", metavar="REVISION", help="a git revision of this repository to compare with"
    )
    engine.add_argument(
        "--device", default="cpu", help="cuda draws whole pictures there (default: %(default)s)"
    )
    engine.add_argument("--dtype", choices=DTYPES, help="with --device (default: the device's)")


def _engine(options: argparse.Namespace, console: Console) -> Figures:
    if options.against is not None:
        from .engine import revisions

        return revisions.run(options.against, options.size, options.threads, console)
    if (options.device, options.dtype) != ("cpu", None):
        from .engine import gpu

        where = options.device, options.dtype
        return gpu.run(options.size, *where, options.threads, console)
    from .engine import run as engine

    effort = engine.BRIEF if options.quick else engine.THOROUGH
    if options.rows is not None:
        effort = replace(effort, rows=options.rows)
    return engine.run(options.size, options.threads, effort, console)


def _add_loading(names: Any) -> None:
    loading = _add(
        names,
        "loading",
        _loading,
        help="memory that a server takes while it loads a model (Linux)",
        description="Loads random weights of real size (written once into the cache folder) "
        "twice, in a process of its own.",
    )
    _add_sizes(loading)
    _add_threads(loading, most=1)


def _loading(options: argparse.Namespace, console: Console) -> Figures:
    from .engine import loading

    return loading.run(options.size, options.threads, console)


def _add_decode(names: Any) -> None:
    decode = _add(
        names,
        "decode",
        _decode,
        help="every tier of pixels, full decodes after each row, and min-dalle's way",
        description="Cost of an update of a forming picture, on a decoder of DALL·E Mini's size "
        "with random weights, and how good it looks, on pictures that postcard draws. Takes some "
        "minutes.",
    )
    decode.add_argument("--quick", action="store_true", help="a small decoder, few repetitions")
    _add_threads(decode, most=2)
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


def _decode(options: argparse.Namespace, console: Console) -> Figures:
    from .decode import run as decode

    effort = decode.BRIEF if options.quick else decode.THOROUGH
    effort = replace(
        effort,
        rounds=options.rounds or effort.rounds,
        pictures=options.pictures or effort.pictures,
    )
    if options.fillers:
        return decode.run_fillers(options.threads, effort.pictures, console)
    return decode.run(options.threads, effort, options.sheet, console)


def _add_export(names: Any) -> None:
    export = _add(
        names,
        "export",
        _export,
        help="seconds that exporting a decoder takes, and the sizes of its files",
    )
    export.add_argument("--quick", action="store_true", help="a small decoder")
    _add_threads(export, most=2)


def _export(options: argparse.Namespace, console: Console) -> Figures:
    from . import export

    return export.run(options.threads, options.quick, console)
