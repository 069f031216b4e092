"""Pictures in a terminal, in true colour: two pixels a character, repainted in place."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from PIL import Image
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from .text import plain, say

UPPER_HALF = "▀"
GAP_COLUMNS = 2
LARGEST_COLUMNS = 64
LINES_BELOW = 6  # the caption, what is said at the end, the prompt
PAINT_RATE = 12  # times a second
LINE_SECONDS = 5.0  # at most so long without a word, where there is no terminal


class Painting:
    """Images side by side, as large as the console allows; a rich renderable."""

    def __init__(self, images: Mapping[int, Image.Image], caption: str) -> None:
        self._images = [images[index] for index in sorted(images)]
        self._caption = caption

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._images:
            in_line, width = _layout(self._images, options.max_width, console.height)
            for first in range(0, len(self._images), in_line):
                blocks = [
                    list(_half_blocks(image, width, " " if options.ascii_only else UPPER_HALF))
                    for image in self._images[first:][:in_line]
                ]
                for row in zip(*blocks, strict=True):
                    for index, segments in enumerate(row):
                        if index:
                            yield Segment(" " * GAP_COLUMNS)
                        yield from segments
                    yield Segment.line()
        yield Segment(plain(self._caption))
        yield Segment.line()


def _layout(images: list[Image.Image], columns: int, lines: int) -> tuple[int, int]:
    """The number of images in a line and the columns of each that make them as large as can be."""
    aspect = images[0].height / images[0].width / 2  # lines a column

    def width(in_line: int) -> int:
        fits = (columns - GAP_COLUMNS * (in_line - 1)) // in_line
        lines_each = (lines - LINES_BELOW) // math.ceil(len(images) / in_line)
        return max(1, min(LARGEST_COLUMNS, fits, int(lines_each / aspect)))

    in_line = max(range(1, len(images) + 1), key=width)
    return in_line, width(in_line)


def _half_blocks(image: Image.Image, columns: int, block: str) -> Iterator[list[Segment]]:
    lines = max(1, round(image.height * columns / image.width / 2))
    pixels = np.asarray(image.resize((columns, 2 * lines), Image.Resampling.BOX).convert("RGB"))
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        yield [
            Segment(block, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
            for above, below in zip(upper, lower, strict=True)
        ]


class Lines:
    """Progress in words where there is no terminal: a line now and then, none of what is quick."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            say(self._console, text)


def can_paint(console: Console) -> bool:
    """True for a terminal with colours: without them every picture looks the same."""
    return console.is_terminal and not console.no_color and console.color_system is not None


@contextmanager
def painting(console: Console) -> Iterator[Callable[[Mapping[int, Image.Image], str], None]]:
    """A function that repaints images and a caption in place; `Lines` where nothing is seen."""
    if not can_paint(console):
        lines = Lines(console)
        yield lambda images, caption: lines(caption)
        return
    with Live(console=console, refresh_per_second=PAINT_RATE, vertical_overflow="crop") as live:
        yield lambda images, caption: live.update(Painting(images, caption))


@contextmanager
def writing(console: Console) -> Iterator[Callable[[object], None]]:
    """A function that shows the name of the file that is being written."""
    if not console.is_terminal:
        lines = Lines(console)
        yield lambda name: lines(f"writing {name}")
        return
    with console.status(Text("writing"), spinner="line") as status:
        yield lambda name: status.update(Text(plain(f"writing {name}")))
