"""`rowcast generate`, `rowcast grids` and `rowcast replay`: their options, and whom they ask."""

from __future__ import annotations

import math
import time
from errno import EEXIST
from pathlib import Path

from ..errors import InvalidRequest, ReplayError
from ..picture import SAMPLING, Picture
from ..pixels.artifacts import cached_path
from ..pixels.detokenizer import Detokenizer
from ..pixels.images import save_gif, save_png
from ..pixels.time_lapse import final_image, time_lapse
from ..rows_file import load_rows
from .draw_grids import draw_grids
from .draw_pictures import draw
from .exit_codes import as_option
from .options import DrawOptions, GridOptions, add_picture_options, add_request_options
from .painting import can_paint, painting
from .parsers import CommandParser, command_parser, minutes
from .servers import (
    add_host_option,
    add_prompt_options,
    add_server_options,
    as_url,
    read_prompts,
    settle_server,
)
from .text import open_console, say


def generate(words: list[str]) -> int:
    """Draw pictures on a server and watch them form."""
    parser = generate_parser()
    options: DrawOptions = parser.parse_anywhere(words, DrawOptions())
    settle_server(parser, options, _addresses_among_sources(options))
    kinds = (options.prompts, options.sources, options.prompts_file)
    if (given := sum(map(bool, kinds))) != 1:
        more = ", one of them" if given else "; `rowcast models` says what a server draws"
        parser.error(
            "give a prompt, or a saved picture with --from, or a file of prompts with --prompts"
            + more
        )
    if options.row is not None and not options.sources:
        parser.error("--row goes with --from")
    if options.seamless and options.sources:
        parser.error("--seamless joins pictures of one prompt; --from goes on with each alone")
    for name in ("images", "model", *SAMPLING) if options.sources else ():
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"{as_option(name)} does not go with --from: it draws on as the file says")
    if options.prompts_file is not None:
        options.prompts = read_prompts(options.prompts_file)
    return draw(options)


def generate_parser() -> CommandParser:
    """The options of `rowcast generate`."""
    parser = command_parser(
        "generate",
        "Draw pictures on a server, watch them form, save PNG, time-lapse GIF and "
        ".rows (the tokens: a few hundred bytes that replay to the same picture). What the server "
        "can draw, `rowcast models` says.",
        "'a red house at sunset'",
        "ws://127.0.0.1:8765 'a red house at sunset' --images 4 --stop-row 4",
        "'a red house at sunset' 'a yellow balloon over the sea'",
        "--prompts prompts.txt --format png --out pictures",
        "--from out/image-0.rows --row 8 --seed 3",
    )
    add_server_options(parser)
    add_prompt_options(parser)
    add_request_options(parser)
    add_picture_options(parser)
    add_host_option(parser)
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="continue the pictures saved in these .rows files (each has its prompt, sampling and "
        "seed; another --seed makes another ending)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="print a link by which others can watch the pictures form (`rowcast watch LINK`)",
    )
    parser.add_argument("--row", type=int, metavar="K", help="with --from: keep its first K rows")
    return parser


def _addresses_among_sources(options: DrawOptions) -> list[str]:
    """Sort out addresses among the words behind ``--from``, which takes all that follow it."""
    words = [str(word) for word in options.sources or ()]
    addresses = [word for word in words if as_url(word)]
    options.sources = [Path(word) for word in words if word not in addresses]
    return addresses


def grids(words: list[str]) -> int:
    """Draw many pictures for their tokens alone, and keep them in one file."""
    parser = grids_parser()
    options: GridOptions = parser.parse_anywhere(words, GridOptions())
    settle_server(parser, options)
    if bool(options.prompts) == (options.prompts_file is not None):
        parser.error("give a prompt, or a file of them with --prompts")
    if options.prompts_file is not None:
        options.prompts = read_prompts(options.prompts_file)
    return draw_grids(options)


def grids_parser() -> CommandParser:
    """The options of `rowcast grids`."""
    parser = command_parser(
        "grids",
        "Draw many pictures on a server for their tokens alone, and keep them in one "
        ".npz file, as `rowcast export --distill` learns from. What the file lacks is drawn: the "
        "same command goes on after Ctrl-C.",
        "--prompts prompts.txt --out grids.npz",
        "ws://127.0.0.1:8765 'a red house at sunset' --images 64 --out grids.npz",
    )
    add_server_options(parser)
    add_prompt_options(parser)
    add_request_options(parser)
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="the .npz file to keep"
    )
    parser.add_argument(
        "--minutes",
        type=minutes,
        default=math.inf,
        metavar="M",
        help="stop drawing after so long; what is not drawn by then is left out (default: no "
        "limit)",
    )
    return parser


def replay_parser() -> CommandParser:
    """The options of `rowcast replay`."""
    parser = command_parser(
        "replay",
        "Paint a saved .rows file again. It needs the detokenizer that the picture "
        "was made for: the copy kept from the server's, or a file given with --detokenizer.",
        "image-0.rows                    paints it in the terminal",
        "image-0.rows -o picture.png     the picture",
        "image-0.rows -o forming.gif     the time-lapse",
    )
    parser.add_argument("file", type=Path, help="a .rows file")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="a .png or .gif to write")
    parser.add_argument("--overwrite", action="store_true", help="write FILE though it is there")
    parser.add_argument(
        "--rows", type=int, metavar="K", help="only the first K rows (default: all it holds)"
    )
    parser.add_argument("--detokenizer", type=Path, metavar="ONNX", help="the file to decode with")
    return parser


def replay(words: list[str]) -> int:
    """Paint a saved .rows file again: PNG, or a time-lapse GIF."""
    options = replay_parser().parse_anywhere(words)
    if options.out is not None and options.out.exists() and not options.overwrite:
        raise FileExistsError(EEXIST, "it is there already; --overwrite replaces it", options.out)
    picture = load_rows(options.file)
    if picture.rows_held == 0:
        raise ReplayError(f"{options.file}: no row has arrived, there is nothing to show")
    if options.rows is not None:
        if not 1 <= options.rows <= picture.rows_held:
            raise InvalidRequest(f"--rows must be 1 to {picture.rows_held}, not {options.rows}")
        picture.rows_held = options.rows
    detokenizer = Detokenizer(options.detokenizer or _kept(picture, options.file))
    match None if options.out is None else options.out.suffix.lower():
        case None:
            _play(picture, detokenizer)
        case ".png":
            save_png(final_image(picture, detokenizer), picture, options.out)
        case ".gif":
            save_gif(time_lapse(picture, detokenizer), options.out)
        case suffix:
            raise InvalidRequest(f"{options.out}: use .png or .gif, not {suffix or 'no suffix'}")
    return 0


def _kept(picture: Picture, file: Path) -> Path:
    """The cached detokenizer of a saved picture. Raises ReplayError where there is none."""
    sha256 = picture.recipe.detokenizer_sha256
    if sha256 is None:
        raise ReplayError(f"{file} names no detokenizer; give one with --detokenizer")
    path = cached_path(sha256)
    if not path.is_file():
        raise ReplayError(
            f"{file} was made for the detokenizer {sha256.hex()}, which is not kept here; draw "
            "once on its server, which fetches it, or give the file with --detokenizer"
        )
    return path


def _play(picture: Picture, detokenizer: Detokenizer) -> None:
    """Paint the time-lapse in the terminal."""
    console = open_console(stderr=False)
    recipe = picture.recipe
    prompt = repr(recipe.prompt) if recipe.is_known else "somebody else's, its prompt not known"
    caption = f"{prompt}, seed {recipe.seed}, {recipe.model} {recipe.revision.hex()}"
    with painting(console) as paint:
        for frame in time_lapse(picture, detokenizer):
            paint({0: frame}, caption)
            if can_paint(console):
                time.sleep(0.08)
    if not can_paint(console):
        say(console, caption)
