"""`rowcast generate` and `rowcast replay`: what they take, and whom they ask."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from ..errors import InvalidRequest, ReplayError
from ..picture import Picture
from ..pixels.artifacts import cached_path
from ..pixels.detokenizer import Detokenizer
from ..pixels.tiers import TIERS
from ..rows_file import (
    final_image,
    load_rows,
    save_gif,
    save_png,
    time_lapse,
)
from .draw_grids import SAMPLING, draw_grids
from .draw_pictures import draw
from .painting import painting

DEFAULT_OUT = Path("rowcast-pictures")
PICTURES_ONLY = ("out", "quality", "seamless", "stop_row", "source", "row")


def generate(arguments: list[str]) -> int:
    """Draw pictures on a server and watch them form."""
    parser = argparse.ArgumentParser(
        prog="rowcast generate",
        description="Draw pictures on a server, watch them form, save PNG, time-lapse GIF and "
        ".rows (the tokens: a few hundred bytes that replay to the same picture).",
        epilog="examples:\n"
        "  rowcast generate ws://127.0.0.1:8765 'a red house at sunset'\n"
        "  rowcast generate ws://127.0.0.1:8765 'a red house at sunset' --images 4 --stop-row 4\n"
        "  rowcast generate ws://127.0.0.1:8765 --from out/image-0.rows --row 8 --seed 3\n"
        "  rowcast generate ws://127.0.0.1:8765 --prompts prompts.txt --grids grids.npz\n"
        "      the ids of a picture of each line, as `rowcast export --distill` learns from; the\n"
        "      same command goes on after Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="the server, as `rowcast serve` prints it: ws://host:port")
    parser.add_argument("prompt", nargs="?", help="what to draw")
    add_drawing_options(parser, "one of the server's models (default: its first)")
    parser.add_argument("--token", help="the token that the server asks for")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="also fetch the detokenizer from this host (default: the server's own, only)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="continue the picture saved in this .rows file (its prompt, sampling and seed; "
        "another --seed makes another ending)",
    )
    parser.add_argument("--row", type=int, metavar="K", help="with --from: keep its first K rows")
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="with --grids: prompts, one a line; --images pictures are drawn of each",
    )
    parser.add_argument(
        "--grids",
        type=Path,
        metavar="FILE",
        help="keep the ids of the pictures in this .npz and nothing else; what it lacks is drawn",
    )
    options = parser.parse_args(arguments)
    if sum(each is not None for each in (options.prompt, options.source, options.prompts)) != 1:
        parser.error("give a prompt, or a saved picture with --from, or --prompts with --grids")
    if options.prompts is not None and options.grids is None:
        parser.error("--prompts goes with --grids")
    if options.grids is not None:
        for name in PICTURES_ONLY:
            if getattr(options, name) != parser.get_default(name):
                parser.error(f"--{_flag(name)} does not go with --grids: it keeps ids alone")
        return draw_grids(options.url, options)
    if options.row is not None and options.source is None:
        parser.error("--row goes with --from")
    if options.seamless and options.source is not None:
        parser.error("--seamless joins several pictures; --from draws one")
    for name in ("images", "stop_row", "model", *SAMPLING) if options.source is not None else ():
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} does not go with --from: the file says it")
    return draw(options.url, options)


def _flag(name: str) -> str:
    return "from" if name == "source" else name.replace("_", "-")


def add_drawing_options(parser: argparse.ArgumentParser, model_help: str) -> None:
    """The options that `demo` and `generate` share."""
    parser.add_argument("--seed", type=int, metavar="N", help="0 … 4294967295 (default: random)")
    parser.add_argument("--images", type=int, default=1, metavar="N", help="pictures (default: 1)")
    parser.add_argument(
        "--seamless",
        action="store_true",
        help="join the pictures without seams, and save mosaic.png and mosaic.gif too; 4 are 2 "
        "rows of 2, 6 are 2 rows of 3, a prime number one row",
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="higher is more varied")
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="keep the K best tokens; 0 keeps all"
    )
    parser.add_argument("--top-p", type=float, metavar="P", help="keep tokens of this probability")
    parser.add_argument(
        "--guidance", type=float, metavar="S", help="how closely to follow the text"
    )
    parser.add_argument("--stop-row", type=int, metavar="K", help="draw only the first K rows")
    parser.add_argument("--model", metavar="NAME", help=model_help)
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
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    parser.set_defaults(source=None, row=None, token=None, allow_host=[])


def replay(arguments: list[str]) -> int:
    """Paint a saved .rows file again: PNG, or a time-lapse GIF."""
    parser = argparse.ArgumentParser(
        prog="rowcast replay",
        description="Paint a saved .rows file again. It needs the detokenizer that the picture "
        "was made for: the copy kept from the server's, or a file given with --detokenizer.",
        epilog="examples:\n"
        "  rowcast replay image-0.rows                    paints it in the terminal\n"
        "  rowcast replay image-0.rows -o picture.png     the picture\n"
        "  rowcast replay image-0.rows -o forming.gif     the time-lapse",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a .rows file")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="a .png or .gif to write")
    parser.add_argument(
        "--rows", type=int, metavar="K", help="only the first K rows (default: all it holds)"
    )
    parser.add_argument("--detokenizer", type=Path, metavar="ONNX", help="the file to decode with")
    options = parser.parse_args(arguments)
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
    console = Console()
    recipe = picture.recipe
    caption = f"{recipe.prompt!r}, seed {recipe.seed}, {recipe.model} {recipe.revision.hex()}"
    with painting(console) as paint:
        for frame in time_lapse(picture, detokenizer):
            paint({0: frame}, caption)
            if console.is_terminal:
                time.sleep(0.08)
    if not console.is_terminal:
        console.print(caption, highlight=False, soft_wrap=True)
