"""Pictures in a terminal, in true colour: two pixels a character, repainted in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from PIL import Image
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.segment import Segment
from rich.style import Style

UPPER_HALF = "▀"
GAP_COLUMNS = 2
LARGEST_COLUMNS = 64
PAINT_RATE = 12  # times a second


class Painting:
    """Images side by side, as wide as the console allows; a rich renderable."""

    def __init__(self, images: Mapping[int, Image.Image], caption: str) -> None:
        self._images = [images[index] for index in sorted(images)]
        self._caption = caption

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._images:
            count = len(self._images)
            width = min(LARGEST_COLUMNS, (options.max_width - GAP_COLUMNS * (count - 1)) // count)
            width = max(8, width)
            lines = [list(_half_blocks(image, width)) for image in self._images]
            for row in zip(*lines, strict=True):
                for index, segments in enumerate(row):
                    if index:
                        yield Segment(" " * GAP_COLUMNS)
                    yield from segments
                yield Segment.line()
        yield Segment(self._caption)
        yield Segment.line()


def _half_blocks(image: Image.Image, columns: int) -> Iterator[list[Segment]]:
    lines = max(1, round(image.height * columns / image.width / 2))
    pixels = np.asarray(image.resize((columns, 2 * lines), Image.Resampling.BOX).convert("RGB"))
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        yield [
            Segment(UPPER_HALF, Style(color=_hex(above), bgcolor=_hex(below)))
            for above, below in zip(upper, lower, strict=True)
        ]


def _hex(pixel: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> str:
    red, green, blue = (int(value) for value in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}"


@contextmanager
def painting(console: Console) -> Iterator[Callable[[Mapping[int, Image.Image], str], None]]:
    """A function that repaints images and a caption in place; silent where nobody looks."""
    if not console.is_terminal:
        yield lambda images, caption: None
        return
    with Live(console=console, refresh_per_second=PAINT_RATE, vertical_overflow="crop") as live:
        yield lambda images, caption: live.update(Painting(images, caption))


@contextmanager
def download_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a detokenizer's download, shown once there is something to show."""
    bar = Progress(
        TextColumn("detokenizer"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("download", total=None)

    def update(received: int, announced: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=received, total=announced)
        if received == announced:
            bar.stop()

    try:
        yield update
    finally:
        bar.stop()
