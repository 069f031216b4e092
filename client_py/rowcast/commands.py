"""`rowcast generate` and `rowcast replay`; the part of `rowcast demo` that draws."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from PIL import Image
from rich.console import Console

from .artifacts import Progress, cached_path
from .canvas import Picture
from .cli import INTERRUPTED
from .detokenizer import Detokenizer
from .draw_grids import SAMPLING, draw_grids
from .errors import InvalidRequest, ReplayError, RowcastError
from .events import Event, PictureAccepted, PictureQueued, RowsArrived
from .messages import DoneReason
from .mosaic import Mosaic
from .replay import (
    final_image,
    load_rows,
    save_gif,
    save_png,
    save_rows,
    time_lapse,
)
from .requests import RequestOptions
from .sync import SyncClient, connect
from .terminal import download_bar, painting
from .tiers import QUALITIES, Decoder

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
        choices=QUALITIES,
        default=QUALITIES[-1],
        help="the best that pictures are painted and saved with: palette fetches a small table and "
        "nothing else, preview a small decoder too, full the detokenizer (default: full)",
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    parser.set_defaults(source=None, row=None, token=None, allow_host=[])


class _Fetching:
    """A file's progress: a bar while nothing else is shown, then words beside the pictures.

    Called from the thread that fetches.
    """

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self._text = ""
        self._lock = threading.Lock()

    def __call__(self, received: int, announced: int) -> None:
        with self._lock:
            if self.bar is not None:
                self.bar(received, announced)
            is_done = received == announced
            self._text = "" if is_done else f", {received / 1e6:.1f} of {announced / 1e6:.1f} MB"

    def __str__(self) -> str:
        return self._text

    def leave_bar(self) -> None:
        """A terminal shows one thing at a time: the pictures take the place of the bar."""
        with self._lock:
            self.bar = None


@dataclass
class _Watch:
    """What is seen while pictures form: the newest images and the times that matter."""

    started: float
    fetching: _Fetching
    images: dict[int, Image.Image] = field(default_factory=dict)
    pictures: dict[int, Picture] = field(default_factory=dict)
    first_row_s: float | None = None
    first_rows: int = 0  # held when they came
    last_row_s: float = 0.0
    queue: int = 0

    def take(self, event: Event) -> None:
        self.pictures[event.index] = event.picture
        if event.image is not None:
            self.images[0 if event.seamless else event.index] = event.image
        match event:
            case PictureAccepted() | PictureQueued():
                self.queue = event.position
            case RowsArrived():
                self.queue = 0
                self.last_row_s = time.perf_counter() - self.started
                if self.first_row_s is None:
                    self.first_row_s, self.first_rows = self.last_row_s, event.picture.rows_held

    @property
    def row_s(self) -> float | None:
        """Seconds from row to row, over the picture that got furthest."""
        rows = max((picture.rows_held for picture in self.pictures.values()), default=0)
        if self.first_row_s is None or rows <= self.first_rows:
            return None
        return (self.last_row_s - self.first_row_s) / (rows - self.first_rows)

    def caption(self, bytes_received: int) -> str:
        if self.queue:
            return f"waiting, place {self.queue} in the queue"
        rows = sum(picture.rows_held for picture in self.pictures.values())
        total = sum(picture.recipe.rows for picture in self.pictures.values())
        return (
            f"row {rows} of {total}, {bytes_received} bytes, {self.last_row_s:.1f} s{self.fetching}"
        )


def draw(url: str, options: argparse.Namespace) -> int:
    """Draw, paint, save and report, as `generate` and `demo` do. Returns the exit code."""
    console = Console(stderr=True)
    source = None if options.source is None else load_rows(options.source)
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=options.out):
        pass  # else OSError: what could not be saved is not drawn
    fetching = _Fetching()
    with ExitStack() as opened:
        with download_bar(console) as bar:
            fetching.bar = bar
            client = opened.enter_context(
                connect(
                    url,
                    token=options.token,
                    allowed_hosts=options.allow_host,
                    progress=fetching,
                    quality=options.quality,
                )
            )
            fetching.leave_bar()
        before = client.bytes_received
        watch = _Watch(time.perf_counter(), fetching)
        code, problem = 0, ""
        try:
            with painting(console) as paint:
                for event in _events(client, options, source):
                    watch.take(event)
                    paint(watch.images, watch.caption(client.bytes_received - before))
        except InvalidRequest:
            raise
        except RowcastError as error:
            code, problem = 1, str(error)
        except KeyboardInterrupt:
            code, problem = INTERRUPTED, "stopped"
        total = time.perf_counter() - watch.started
        named = {
            options.out / _name(options, source, index, picture): picture
            for index, picture in sorted(watch.pictures.items())
        }
        files = save_pictures(named, client.detokenizer)
        mosaic: list[str] = []
        if options.seamless:
            mosaic = save_mosaic(watch.pictures, options.images, client.detokenizer, options.out)
        report: dict[str, object] = {
            "seed": next((p.recipe.seed for p in watch.pictures.values()), None),
            "images": len(watch.pictures),
            "bytes_received": client.bytes_received - before,
            "first_row_s": _rounded(watch.first_row_s),
            "row_s": _rounded(watch.row_s),
            "total_s": _rounded(total),
            "painted_by": client.tiers[-1] if client.tiers else None,
            "files": files + mosaic,
        }
    if cut := max((picture.text_cut for picture in watch.pictures.values()), default=0):
        console.print(f"the prompt is too long: its last {cut} tokens were not used")
    _tell(console, report, list(named.items()), mosaic, problem)
    if options.json:
        print(json.dumps(report | ({"error": problem} if problem else {})))
    return code


def _events(
    client: SyncClient, options: argparse.Namespace, source: Picture | None
) -> Iterator[Event]:
    if source is not None:
        yield from client.continue_picture(source, options.row, seed=options.seed)
        return
    names = RequestOptions.__annotations__
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    yield from client.generate(options.prompt, options.images, seamless=options.seamless, **given)


def _name(options: argparse.Namespace, source: Picture | None, index: int, picture: Picture) -> str:
    """The name of a picture's files; one that goes on from a file never overwrites that file."""
    if source is None:
        return f"image-{index}"
    row = source.rows_held if options.row is None else options.row
    return f"{options.source.stem}-row-{row}-seed-{picture.recipe.seed}"


def _tell(
    console: Console,
    report: dict[str, object],
    named: list[tuple[Path, Picture]],
    mosaic: list[str],
    problem: str,
) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if named:
        told = [f"seed {report['seed']}", f"{report['bytes_received']} bytes received"]
        if report["first_row_s"] is not None:
            told.append(f"first row after {report['first_row_s']} s")
        if report["row_s"] is not None:
            told.append(f"{report['row_s']} s a row")
        say(" · ".join([*told, f"{report['total_s']} s in all"]))
        first, last = named[0][0], named[-1][0]
        say(f"saved {first}{'' if first == last else f' … {last.name}'} (.rows, .png, .gif)")
        if mosaic:
            say(f"saved {' and '.join(mosaic)}: the pictures joined")
    for stem, picture in named:
        if picture.reason == DoneReason.STOP_ROW:
            say(f"stopped early; go on with: rowcast generate URL --from {stem}.rows")
            break
    if problem:
        print(f"rowcast: {problem}", file=sys.stderr)
        if named:
            print("rowcast: the rows that had arrived are saved", file=sys.stderr)


def save_pictures(named: dict[Path, Picture], detokenizer: Decoder | None) -> list[str]:
    """Write .rows, .png and .gif of each picture, under its name; returns the paths.

    All .rows files are written first: they cannot be made again. Without a row or a detokenizer
    they are all there is. Raises OSError, naming the file.
    """
    files = {stem: [f"{stem}.rows"] for stem in named}
    for stem, picture in named.items():
        save_rows(picture, Path(f"{stem}.rows"))
    for stem, picture in named.items():
        if detokenizer is not None and picture.rows_held:
            save_png(final_image(picture, detokenizer), picture, Path(f"{stem}.png"))
            save_gif(time_lapse(picture, detokenizer), Path(f"{stem}.gif"))
            files[stem] = [f"{stem}.png", f"{stem}.gif", *files[stem]]
    return [path for paths in files.values() for path in paths]


def save_mosaic(
    pictures: dict[int, Picture], images: int, detokenizer: Decoder | None, folder: Path
) -> list[str]:
    """Write mosaic.png and mosaic.gif of those of ``images`` pictures that have begun.

    Returns the paths: none without a row or a detokenizer. Raises OSError, naming the file.
    """
    mosaic = Mosaic(images)
    for index, picture in pictures.items():
        mosaic.place(index, picture)
    image = None if detokenizer is None else mosaic.paint(detokenizer)
    if image is None or detokenizer is None:
        return []
    png, gif = folder / "mosaic.png", folder / "mosaic.gif"
    save_png(image, pictures[min(pictures)], png, (mosaic.rows, mosaic.columns))
    save_gif(mosaic.time_lapse(detokenizer), gif)
    return [str(png), str(gif)]


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


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
