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
from ..pixels.time_lapse import final_image, time_lapse
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
        mosaic: list[str] = []
        if options.seamless:
            mosaic = save_mosaic(watch.pictures, options.images, client.detokenizer, options.out)
        report: dict[str, object] = {
            "seed": next((p.recipe.seed for p in watch.pictures.values()), None),
            "images": len(watch.pictures),
            "bytes_received": client.bytes_received - watch.bytes_before,
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
    mosaic: list[str],
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
        if mosaic:
            say(console, f"saved {' and '.join(mosaic)}: the pictures joined")
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


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
