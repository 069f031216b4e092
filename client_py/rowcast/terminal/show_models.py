"""`rowcast models`: what a server has, what it draws, and what it allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any
from urllib.parse import urljoin

from msgspec.structs import replace

from ..messages import DetokenizerFile, Limits, Model, Range
from ..picture import Sampling
from ..sync import connect
from .exit_codes import as_option
from .parsers import JSON, CommandParser, command_parser
from .servers import add_server_options, asking, client_arguments, settle_server
from .text import answer, answer_json, open_console, warnings_shown


def models(words: list[str]) -> int:
    """Show what a server has: its models, what they draw, what it allows."""
    parser = models_parser()
    options = parser.parse_anywhere(words)
    settle_server(parser, options)
    with (
        warnings_shown(open_console()),
        asking(options.url),
        connect(options.url, decode=False, **client_arguments(options)) as client,
    ):
        welcome = client.session.welcome
    found = [_with_whole_urls(model, options.url) for model in welcome.models]
    if options.json:
        told = [_for_programs(model) for model in found]
        answer_json({"models": told, "limits": _limits(welcome.limits)})
        return 0
    for model in found:
        for line in _for_people(model):
            answer(line)
        answer("")
    limits = welcome.limits
    answer(
        f"a request: at most {limits.images} pictures, a prompt of {limits.prompt_bytes} bytes; "
        f"{limits.streams} pictures at once"
    )
    answer(
        f"a picture is kept for {limits.keep_ms / 1000:g} s after its end, and drawn on for "
        f"{limits.grace_ms / 1000:g} s after its client is gone"
    )
    return 0


def models_parser() -> CommandParser:
    """The options of `rowcast models`."""
    parser = command_parser(
        "models",
        "Show the models of a server, the default one first: what they draw, the grid, the ranges "
        "of their sampling, the files that paint them; and what the server allows.",
        "",
        "ws://127.0.0.1:8765 --json",
    )
    add_server_options(parser)
    parser.add_argument(JSON, action="store_true", help="say it as one line of JSON on stdout")
    return parser


def _with_whole_urls(model: Model, server_url: str) -> Model:
    """A URL of a file may be relative to the server's (R-52)."""
    base = "http" + server_url.removeprefix("ws")
    files = [replace(file, url=urljoin(base, file.url)) for file in model.files]
    return replace(model, files=files)


def _for_people(model: Model) -> Iterator[str]:
    """Lines that describe a model."""
    side = model.pixels_per_token
    yield f"{model.name}, revision {model.revision.hex()}"
    if model.description:
        yield f"  draws       {model.description}"
    for number, prompt in enumerate(model.examples):
        yield f"  {'such as' if not number else '':<11} {prompt!r}"
    yield (
        f"  pictures    {model.cols * side} x {model.rows * side} pixels: {model.rows} rows of "
        f"{model.cols} tokens, each {side} x {side} pixels of {model.codebook_size} kinds"
    )
    ranges = {each.name: getattr(model.sampling, each.name) for each in fields(Sampling)}
    known = {name: each for name, each in ranges.items() if each != Range(0, 0, 0)}
    for number, (name, allowed) in enumerate(known.items()):
        option = as_option(name)
        yield (
            f"  {'sampling' if not number else '':<11} {option:<14} {allowed.low:g} to "
            f"{allowed.high:g}, else {allowed.default:g}"
        )
    for number, file in enumerate(model.files):
        size = f"{file.bytes / 1e6:.1f} MB" if file.bytes >= 1e5 else f"{file.bytes / 1e3:.1f} kB"
        told = f"{file.kind} {file.precision}, {size}, {file.url}"
        yield f"  {'files' if not number else '':<11} {told}"


def _for_programs(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "revision": model.revision.hex(),
        "description": model.description,
        "examples": list(model.examples),
        "rows": model.rows,
        "cols": model.cols,
        "pixels_per_token": model.pixels_per_token,
        "codebook_size": model.codebook_size,
        "sampling": {
            each.name: _range(getattr(model.sampling, each.name)) for each in fields(Sampling)
        },
        "files": [_file(file) for file in model.files],
    }


def _range(allowed: Range) -> dict[str, float]:
    return {"default": allowed.default, "low": allowed.low, "high": allowed.high}


def _file(file: DetokenizerFile) -> dict[str, Any]:
    return {
        "kind": file.kind,
        "precision": file.precision,
        "bytes": file.bytes,
        "sha256": file.sha256.hex(),
        "url": file.url,
    }


def _limits(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}
