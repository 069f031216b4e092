"""Command-line options of the commands that draw, and the records that they are parsed into.

`argparse` fills a record; fields with a default are those that not every command asks for.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Final

from ..picture import SAMPLING, Sampling, SamplingOptions, sampling_options
from ..pixels.tiers import TIERS
from ..requests import RequestOptions

DEFAULT_OUT: Final = Path("rowcast-pictures")


class RequestRecord(argparse.Namespace):
    """Options of all commands that draw: ``images`` pictures, of a prompt for the most part."""

    url: str
    prompt: str | None
    images: int
    model: str | None
    seed: int | None
    out: Path
    json: bool
    token: str | None = None

    @property
    def sampling(self) -> SamplingOptions:
        """The sampling parameters, as they were given."""
        return sampling_options(self)


class DrawOptions(RequestRecord):
    """Pictures to draw, watch and save: of a prompt, or going on from a saved picture.

    ``source`` is the .rows file to go on from, with its first ``row`` rows; then of ``request``
    the seed alone counts. ``out`` is the folder for the files.
    """

    seamless: bool
    stop_row: int | None
    quality: str
    allowed_hosts: list[str] | None = None
    source: Path | None = None
    row: int | None = None

    @property
    def request(self) -> RequestOptions:
        """The options of the request, as they were given."""
        own: RequestOptions = {"model": self.model, "seed": self.seed, "stop_row": self.stop_row}
        return {**own, **self.sampling}


class GridOptions(RequestRecord):
    """Pictures to draw for their ids alone: ``images`` of each prompt, kept in the file ``out``.

    The prompt is ``prompt``, or the lines of the text file ``prompts``.
    """

    prompts: Path | None


def command_parser(command: str, description: str, *examples: str) -> argparse.ArgumentParser:
    """The parser of a command, without its options; ``examples`` are what follows its name."""
    return argparse.ArgumentParser(
        prog=f"rowcast {command}",
        description=description,
        epilog="\n  rowcast ".join(
            ["examples:", *(f"{command} {each}".strip() for each in examples)]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that ask a server that somebody else started."""
    parser.add_argument("url", help="the server, as `rowcast serve` prints it: ws://host:port")
    parser.add_argument("--token", help="the token that the server asks for")
    parser.add_argument("prompt", nargs="?", help="what to draw")


def add_request_options(
    parser: argparse.ArgumentParser,
    model_help: str = "one of the server's models (default: its first)",
) -> None:
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


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """The further options of `demo` and `generate`, which paint and save pictures."""
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
