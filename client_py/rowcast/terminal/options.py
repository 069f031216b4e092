"""Command-line options of the commands that draw, and the records that they are parsed into.

`argparse` fills a record; fields with a default are those that not every command asks for. Which
server is asked, and whose words are prompts, is in servers.py.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import Final

from ..picture import SAMPLING, Sampling, SamplingOptions, sampling_options
from ..pixels.tiers import TIERS
from ..requests import RequestOptions
from ..share_link import ShareLink
from .install_hints import command_name
from .parsers import JSON
from .picture_files import DEFAULT_FORMATS, FORMATS

DEFAULT_OUT: Final = Path("rowcast-pictures")


class RequestRecord(argparse.Namespace):
    """Options of all commands that draw: ``images`` pictures of each prompt.

    ``address_again`` is what names the server in the next command line: nothing for the server that
    is asked unnamed, a word to be replaced where the address has secrets. ``is_gone`` where that
    server has to be started first.
    """

    url: str
    address_again: str = "URL "
    is_gone: bool = False
    prompts: list[str]
    images: int
    model: str | None
    seed: int | None
    out: Path
    json: bool
    token: str | None = None
    proxy: str | None = None

    def next_command(self, words: str) -> str:
        """The command line that goes on with ``words`` at the same server."""
        called = command_name()
        start = f"{called} serve, and elsewhere " if self.is_gone else ""
        return f"{start}{called} generate {self.address_again}{words}"

    @property
    def sampling(self) -> SamplingOptions:
        """The sampling parameters, as they were given."""
        return sampling_options(self)


class DrawOptions(RequestRecord):
    """Pictures to draw, watch and save: of prompts, or going on from saved pictures.

    ``sources`` are the .rows files to go on from, with their first ``row`` rows; then of
    ``request`` the seed alone counts. ``link`` names pictures to watch instead. ``out`` is the
    folder for the files of ``formats``.
    """

    seamless: bool
    stop_row: int | None
    quality: str
    formats: tuple[str, ...]
    overwrite: bool
    allowed_hosts: list[str] | None = None
    sources: list[Path]
    prompts_file: Path | None
    row: int | None = None
    link: ShareLink | None = None
    share: bool = False
    page: bool | None = None  # of `demo`: None decides by what is there

    @property
    def request(self) -> RequestOptions:
        """The options of the request, as they were given."""
        own: RequestOptions = {"model": self.model, "seed": self.seed, "stop_row": self.stop_row}
        return {**own, **self.sampling}


class GridOptions(RequestRecord):
    """Pictures to draw for their ids alone, kept in the file ``out``.

    ``prompts_file`` is the text file that the prompts come from, if they do. After ``minutes`` no
    more is drawn, once ``fewest`` are there. If it is ``lenient``, a prompt that is refused is told
    and is no failure.
    """

    prompts_file: Path | None
    minutes: float = math.inf
    fewest: int = 1
    lenient: bool = False


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
    parser.add_argument(JSON, action="store_true", help="end with one line of JSON on stdout")


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """The further options of `demo` and `generate`, which paint and save pictures."""
    parser.add_argument("--stop-row", type=int, metavar="K", help="draw only the first K rows")
    add_saving_options(parser)


def add_saving_options(parser: argparse.ArgumentParser) -> None:
    """The options of all commands that paint and save pictures, also those of somebody else."""
    parser.add_argument(
        "--seamless",
        action="store_true",
        help="join the pictures without seams, and save mosaic.png and mosaic.gif too; 4 are 2 "
        "rows of 2, 6 are 2 rows of 3, a prime number one row",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        metavar="DIR",
        help="where image-0.png, .gif and .rows go, or the next number that is free (default: "
        f"{DEFAULT_OUT}/)",
    )
    parser.add_argument(
        "--format",
        dest="formats",
        type=_formats,
        default=DEFAULT_FORMATS,
        metavar="F,...",
        help=f"any of {', '.join(FORMATS)} (default: {','.join(DEFAULT_FORMATS)}): the picture, "
        "its time-lapse, its tokens, the picture as lossless WebP",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="begin with image-0, whatever is there"
    )
    parser.add_argument(
        "--quality",
        choices=TIERS,
        default=TIERS[-1],
        help="the best that pictures are painted and saved with: palette fetches a small table and "
        "nothing else, preview a small decoder too, full the detokenizer (default: full)",
    )


def _formats(text: str) -> tuple[str, ...]:
    """Formats by their names, in the order in which files are told."""
    asked = [each.strip().lower() for each in text.split(",")]
    for name in asked:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"no format {name!r}; choose of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in asked)
