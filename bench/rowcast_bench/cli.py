"""`rowcast bench NAME`: each benchmark states its conditions and ends with one line of JSON."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown
from rowcast.errors import RowcastError
from rowcast.terminal.install_hints import extra_of, install_hint
from rowcast_server.config import usable_cores
from rowcast_server.placement import DTYPES

from .machine import describe

NUMBERS: Final = ("pictures", "threads", "rounds", "layers")  # options that are at least 1
DEFAULT: Final = "default: %(default)s"


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. ``options`` are argparse's arguments by their flags.

    ``module`` has a function `run`, which takes a console and the options, and returns the figures
    and a report of them in Markdown.
    """

    module: str
    help: str
    options: Mapping[str, Mapping[str, Any]]
    description: str | None = None


def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name."""
    size = {"choices": ("small", "mini", "mega"), "default": "mini", "help": DEFAULT}
    all_cores, one, two = (
        {"type": int, "default": min(most, usable_cores()), "help": DEFAULT}
        for most in (usable_cores(), 1, 2)
    )
    quick = {"action": "store_true"}
    return {
        "wire": Benchmark(
            "wire",
            "bytes of a picture on a real socket, against pictures sent whole",
            {
                "--model": {"default": "postcard", "help": "postcard, or a model folder"},
                "--pictures": {"type": int, "default": 8, "help": DEFAULT},
            },
        ),
        "first-paint": Benchmark(
            "first_paint",
            "from the bytes of a row to an image that shows it",
            {"--pictures": {"type": int, "default": 200, "help": DEFAULT}},
        ),
        "engine": Benchmark(
            "engine.run",
            "tokens a second, against min-dalle on the same random weights",
            {
                "--size": size,
                "--quick": {**quick, "help": "fewer steps and rows"},
                "--threads": all_cores,
                "--rows": {
                    "type": int,
                    "help": "rows of 16 jobs timed from sampling to the socket; 0 leaves that out "
                    "(default: 2100, with --quick 128)",
                },
                "--device": {
                    "default": "cpu",
                    "help": "cuda draws whole pictures there (default: %(default)s)",
                },
                "--dtype": {
                    "choices": DTYPES,
                    "help": "with --device (default: the device's)",
                },
            },
            "Draws with min-dalle 0.4.11 from PyPI and with this engine, in turn, on the same "
            "random weights of real size (written once into the cache folder, 0.9 GB for Mini; "
            "about 8 GB of memory). Takes some minutes.",
        ),
        "janus": Benchmark(
            "engine.janus",
            "tokens a second of Janus-Pro-1B's width, against transformers' generate loop",
            {
                "--layers": {"type": int, "default": 4, "help": "of the 1B's 24 (default: 4)"},
                "--threads": all_cores,
                "--rounds": {"type": int, "default": 3, "help": DEFAULT},
                "--device": {"default": "cpu", "help": "cpu or cuda (default: %(default)s)"},
            },
            "Draws 8x8 tokens with transformers 5.24 and with this engine, in turn, on the same "
            "random weights (written once into the cache folder). All 24 layers take about 20 GB "
            "of memory.",
        ),
        "loading": Benchmark(
            "engine.loading",
            "memory that a server takes while it loads a model (Linux)",
            {"--size": size, "--threads": one},
            "Loads random weights of real size (written once into the cache folder) twice, in a "
            "process of its own.",
        ),
        "decode": Benchmark(
            "decode.run",
            "every tier of pixels, full decodes after each row, and min-dalle's way",
            {
                "--quick": {**quick, "help": "a small decoder, few repetitions"},
                "--threads": two,
                "--rounds": {"type": int, "help": "times that each scheme draws a picture"},
                "--pictures": {"type": int, "help": "held-out pictures for quality"},
                "--sheet": {
                    "type": Path,
                    "default": Path("decode-sheet.png"),
                    "help": "where a contact sheet of all schemes is written "
                    "(default: %(default)s)",
                },
                "--fillers": {
                    "action": "store_true",
                    "help": "only compare guesses at the rows to come, below those that a full "
                    "decode shows",
                },
            },
            "Cost of an update of a forming picture, on a decoder of DALL·E Mini's size with "
            "random weights, and how good it looks, on pictures that postcard draws. Takes some "
            "minutes.",
        ),
        "export": Benchmark(
            "export",
            "seconds that exporting a decoder takes, and the sizes of its files",
            {"--quick": {**quick, "help": "a small decoder"}, "--threads": two},
        ),
        "transport": Benchmark(
            "transport.run",
            "bandwidth against latency: every way of showing a picture that forms, over real links",
            {
                "--quick": {**quick, "help": "two links, fewer pictures: 3 minutes"},
                "--out": {
                    "type": Path,
                    "default": Path("bench/results"),
                    "help": "where results and plots go (default: %(default)s)",
                },
            },
            "Rows of tokens beside pictures sent in seven formats by four protocols, on links "
            "between network namespaces (Linux, root; otherwise on loopback alone). The whole run "
            "takes some 25 minutes; one that was stopped goes on where it was.",
        ),
        "scaling": Benchmark(
            "scaling.run",
            "one process beside replicas of a Ray cluster, and many of them simulated",
            {
                "--quick": {**quick, "help": "short loops, one plan: 2 minutes"},
                "--out": {
                    "type": Path,
                    "default": Path("bench/results"),
                    "help": "where results go (default: %(default)s)",
                },
            },
            "Draws with postcard in one process, and on two replicas of a local Ray cluster on the "
            "same cores, at full and at half load; simulates the same, and clusters for up to a "
            "million viewers on H100s as docs/measured has them. Takes some 8 minutes.",
        ),
    }


def bench_parser() -> argparse.ArgumentParser:
    """The options of `rowcast bench` and of each benchmark."""
    parser = argparse.ArgumentParser(
        prog="rowcast bench",
        allow_abbrev=False,
        description="Run a benchmark. It states its conditions; the last line of its output is one "
        "line of JSON.",
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, each in benchmarks().items():
        one = names.add_parser(
            name, help=each.help, description=each.description, allow_abbrev=False
        )
        for flag, settings in each.options.items():
            one.add_argument(flag, **settings)
    return parser


def bench(arguments: list[str]) -> int:
    """Measure: bytes, delays and speed, side by side with a peer in one run."""
    parser, known = bench_parser(), benchmarks()
    options = vars(parser.parse_args(arguments))
    for name in NUMBERS:
        if options.get(name) is not None and options[name] < 1:
            parser.error(f"--{name} must be at least 1")
    console, machine, name = Console(stderr=True), describe(), options.pop("name")
    versions = ", ".join(f"{each} {version(each)}" for each in ("onnxruntime", "websockets"))
    console.print(
        f"{machine}, Python {platform.python_version()}, {versions}",
        highlight=False,
        soft_wrap=True,
    )
    try:
        run = import_module(f".{known[name].module}", __package__).run
        figures, report = run(console, **options)
    except ModuleNotFoundError as error:
        module = error.name or str(error)
        extras = dict.fromkeys(("bench", extra_of(module, "bench")))
        raise RowcastError(
            f"`rowcast bench {name}` needs {module}: {install_hint(*extras)}"
        ) from error
    out, text = Console(), f"`rowcast bench {shlex.join(arguments)}` ({machine}):\n\n{report}"
    out.print(Markdown(text)) if out.is_terminal else print(text)
    print(json.dumps({"machine": machine, "quick": options.get("quick", False), **figures}))
    return 0
