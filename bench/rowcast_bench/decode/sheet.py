"""A contact sheet for looking at: every scheme after some rows of one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rowcast.pixels.palette import PAPER

from .schemes import Scheme

SHOWN_ROWS: Final = (1, 4, 8, 12, 16)
GAP: Final = 10  # pixels
HEADER: Final = 34
LABELS: Final = 176
LABEL_CHARACTERS: Final = 20  # of a line
FONT_SIZE: Final = 15
BACKGROUND: Final = (255, 255, 255)
INK: Final = (40, 40, 44)
FAINT: Final = (128, 126, 120)


def sheet_size(schemes: int, side: int, columns: int = len(SHOWN_ROWS)) -> tuple[int, int]:
    """Width and height in pixels, of pictures of ``side`` pixels."""
    return (LABELS + columns * (side + GAP) + GAP, HEADER + schemes * (side + GAP))


def contact_sheet(
    schemes: Sequence[Scheme],
    notes: Sequence[str],
    grid: NDArray[np.int64],
    side: int,
    shown: Sequence[int] = SHOWN_ROWS,
) -> Image.Image:
    """A line of pictures for each scheme, with its label and a note below that.

    ``grid`` [rows, cols] is painted row by row, in pictures of ``side`` pixels; what is not drawn
    yet is paper.
    """
    sheet = Image.new("RGB", sheet_size(len(schemes), side, len(shown)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font, small = (ImageFont.load_default(size) for size in (FONT_SIZE, FONT_SIZE - 2))
    places = [LABELS + column * (side + GAP) for column in range(len(shown))]
    for left, held in zip(places, shown, strict=True):
        text = "1 row" if held == 1 else f"{held} rows"
        draw.text((left + side / 2, HEADER / 2), text, INK, font, anchor="mm")
    for line, (scheme, note) in enumerate(zip(schemes, notes, strict=True)):
        top = HEADER + line * (side + GAP)
        label, below = (textwrap.fill(text, LABEL_CHARACTERS) for text in (scheme.label, note))
        draw.multiline_text((GAP, top + 4), label, INK, font)
        draw.multiline_text((GAP, top + side - 4), below, FAINT, small, anchor="ld")
        for left, held in zip(places, shown, strict=True):
            picture = Image.new("RGB", (side, side), PAPER)
            if painted := held - held % scheme.every:
                image = Image.fromarray(scheme.paint(grid[:painted]))
                size = (side, round(painted * side / len(grid)))
                picture.paste(image.resize(size, Image.Resampling.NEAREST))
            sheet.paste(picture, (left, top))
    return sheet
