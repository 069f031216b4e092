"""Command-line options of the commands that draw, and the records that they are parsed into."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from ..picture import SAMPLING, Sampling, SamplingOptions, sampling_options
from ..pixels.tiers import TIERS
from ..requests import RequestOptions

DEFAULT_OUT: Final = Path("rowcast-pictures")


@dataclass(frozen=True)
class DrawOptions:
    """Pictures to draw, watch and save: of a prompt, or going on from a saved picture.

    ``source`` is the .rows file to go on from, with its first ``row`` rows; then of ``request``
    the seed alone counts. ``out`` is the folder for the files.
    """

    prompt: str
    images: int
    seamless: bool
    request: RequestOptions
    out: Path
    quality: str
    json: bool
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    source: Path | None = None
    row: int | None = None


@dataclass(frozen=True)
class GridOptions:
    """Pictures to draw for their ids alone: ``images`` of each prompt, kept in the file ``out``.

    The prompt is ``prompt``, or the lines of the text file ``prompts``.
    """

    prompt: str | None
    prompts: Path | None
    images: int
    model: str | None
    seed: int | None
    sampling: SamplingOptions
    out: Path
    json: bool
    token: str | None = None


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that ask a server that somebody else started."""
    parser.add_argument("url", help="the server, as `rowcast serve` prints it: ws://host:port")
    parser.add_argument("--token", help="the token that the server asks for")


def add_request_options(parser: argparse.ArgumentParser, model_help: str) -> None:
    """The options of all commands that draw; those of sampling are the fields of `Sampling`."""
    parser.add_argument("--seed", type=int, metavar="N", help="0 … 4294967295 (default: random)")
    parser.add_argument("--images", type=int, default=1, metavar="N", help="pictures (default: 1)")
    for each in fields(Sampling):
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=SAMPLING[each.name],
            metavar=each.name.rpartition("_")[2][0].upper(),
            help=each.metadata["help"],
        )
    parser.add_argument("--model", metavar="NAME", help=model_help)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")


def add_picture_options(parser: argparse.ArgumentParser, model_help: str) -> None:
    """The options of `demo` and `generate`, which paint and save pictures."""
    add_request_options(parser, model_help)
    parser.add_argument(
        "--seamless",
        action="store_true",
        help="join the pictures without seams, and save mosaic.png and mosaic.gif too; 4 are 2 "
        "rows of 2, 6 are 2 rows of 3, a prime number one row",
    )
    parser.add_argument("--stop-row", type=int, metavar="K", help="draw only the first K rows")
    parser.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        metavar="DIR",
        help=f"where image-0.png, .gif and .rows go (default: {DEFAULT_OUT}/)",
    )
    parser.add_argument(
        "--quality",
        choices=TIERS,
        default=TIERS[-1],
        help="the best that pictures are painted and saved with: palette fetches a small table and "
        "nothing else, preview a small decoder too, full the detokenizer (default: full)",
    )


def request_options(options: argparse.Namespace) -> RequestOptions:
    """The options of a request, as they were given."""
    own: RequestOptions = {
        "model": options.model,
        "seed": options.seed,
        "stop_row": options.stop_row,
    }
    return {**own, **sampling_options(options)}
