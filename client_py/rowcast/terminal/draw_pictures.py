"""The part of `rowcast generate` and `rowcast demo` that draws: watch, paint, save, report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console

from ..errors import InvalidRequest, RowcastError
from ..events import Event
from ..messages import DoneReason
from ..picture import Picture
from ..pixels.images import save_gif, save_png
from ..pixels.mosaic import Mosaic
from ..pixels.tiers import Decoder
from ..rows_file import load_rows, save_rows
from ..sync import SyncClient, connect
from .exit_codes import failure
from .options import DrawOptions
from .painting import painting, say
from .watch import Fetching, Watch


def draw(options: DrawOptions) -> int:
    """Draw, paint, save and report, as `generate` and `demo` do. Returns the exit code.

    Raises RowcastError or OSError before anything is drawn, OSError where it cannot be saved.
    """
    console = Console(stderr=True)
    source = None if options.source is None else load_rows(options.source)
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=options.out):
        pass  # else OSError: what could not be saved is not drawn
    with ExitStack() as opened:
        with Fetching(console) as fetching:
            client = opened.enter_context(
                connect(
                    options.url,
                    token=options.token,
                    allowed_hosts=options.allowed_hosts or (),
                    progress=fetching,
                    quality=options.quality,
                )
            )
        if source is not None:
            events = client.continue_picture(source, options.row, seed=options.seed)
        else:
            events = client.generate(
                options.prompt or "", options.images, seamless=options.seamless, **options.request
            )
        watch = Watch(time.perf_counter(), client.bytes_received, fetching)
        code, problem = _watch(console, client, events, watch)
        total = time.perf_counter() - watch.started
        named = {
            options.out / _name(options, source, index, picture): picture
            for index, picture in sorted(watch.pictures.items())
        }
        files = save_pictures(named, client.detokenizer)
        joined: list[str] = []
        if options.seamless and named:
            mosaic = Mosaic(options.images)
            for index, picture in watch.pictures.items():
                mosaic.place(index, picture)
            grid, first = (mosaic.rows, mosaic.columns), watch.pictures[min(watch.pictures)]
            joined = save_images(mosaic, first, options.out / "mosaic", client.detokenizer, grid)
        report: dict[str, object] = {
            "seed": next((p.recipe.seed for p in watch.pictures.values()), None),
            "images": len(watch.pictures),
            "bytes_received": client.bytes_received - watch.bytes_before,
            "first_row_s": watch.first_row_s,
            "row_s": watch.row_s,
            "total_s": total,
            "painted_by": client.tiers[-1] if client.tiers else None,
            "files": files + joined,
        }
    report |= {name: round(each, 4) for name, each in report.items() if isinstance(each, float)}
    if cut := max((picture.text_cut for picture in watch.pictures.values()), default=0):
        console.print(f"the prompt is too long: its last {cut} tokens were not used")
    _tell(console, report, list(named.items()), joined, problem)
    if options.json:
        print(json.dumps(report | ({"error": problem} if problem else {})))
    return code


def _watch(
    console: Console, client: SyncClient, events: Iterator[Event], watch: Watch
) -> tuple[int, str]:
    """Paint pictures while they form. Returns the exit code, and what went wrong, if anything.

    Raises InvalidRequest, for then nothing was drawn.
    """
    try:
        with painting(console) as paint:
            for event in events:
                watch.take(event)
                paint(watch.images, watch.caption(client.bytes_received))
    except InvalidRequest:
        raise
    except (RowcastError, KeyboardInterrupt) as error:
        return failure(error)
    return 0, ""


def _name(options: DrawOptions, source: Picture | None, index: int, picture: Picture) -> str:
    """The name of a picture's files; one that goes on from a file never overwrites that file."""
    if source is None or options.source is None:
        return f"image-{index}"
    row = source.rows_held if options.row is None else options.row
    return f"{options.source.stem}-row-{row}-seed-{picture.recipe.seed}"


def _tell(
    console: Console,
    report: dict[str, object],
    named: list[tuple[Path, Picture]],
    joined: list[str],
    problem: str,
) -> None:
    if named:
        told = [f"seed {report['seed']}", f"{report['bytes_received']} bytes received"]
        if report["first_row_s"] is not None:
            told.append(f"first row after {report['first_row_s']} s")
        if report["row_s"] is not None:
            told.append(f"{report['row_s']} s a row")
        say(console, " · ".join([*told, f"{report['total_s']} s in all"]))
        first, last = named[0][0], named[-1][0]
        range_of = f"{first}" if first == last else f"{first} … {last.name}"
        say(console, f"saved {range_of} (.rows, .png, .gif)")
        if joined:
            say(console, f"saved {' and '.join(joined)}: the pictures joined")
    for stem, picture in named:
        if picture.reason == DoneReason.STOP_ROW:
            say(console, f"stopped early; go on with: rowcast generate URL --from {stem}.rows")
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
        files[stem][:0] = save_images(Mosaic.of([picture]), picture, stem, detokenizer)
    return [path for paths in files.values() for path in paths]


def save_images(
    mosaic: Mosaic,
    first: Picture,
    stem: Path,
    detokenizer: Decoder | None,
    grid: tuple[int, int] | None = None,
) -> list[str]:
    """Write .png and .gif of a mosaic, of one picture or of several joined as ``grid``.

    Returns the paths: none without a row or a detokenizer. Raises OSError, naming the file.
    """
    image = None if detokenizer is None else mosaic.paint(detokenizer)
    if image is None or detokenizer is None:
        return []
    png, gif = Path(f"{stem}.png"), Path(f"{stem}.gif")
    save_png(image, first, png, grid)
    save_gif(mosaic.time_lapse(detokenizer), gif)
    return [str(png), str(gif)]
