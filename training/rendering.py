"""Rendering: a scene's picture, 128x128 pixels. The same scene always gives the same pixels.

python -m training.rendering --count 36 --output sheet.png     # look at the data
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training import drawing
from training.command_line import parse
from training.painter import OBJECT_COLOURS, SIZE, Painter, Pixels
from training.scenes import COUNTS, SIDES, Scene, sample_scenes

COLUMN = {"left": 24, "middle": 64, "right": 104}
# Pixels, a token: places move in whole tokens, so that a thing has the same codes anywhere.
STEP = 8


def render(scene: Scene) -> Pixels:
    """Draw the scene: uint8 [128, 128, 3]. The same scene always gives the same pixels."""
    generator = np.random.default_rng(scene.layout)

    def jitter(steps: int) -> int:
        return STEP * int(generator.integers(-steps, steps + 1))

    painter = Painter(scene.time)
    drawing.stars(painter, int(generator.integers(4)))
    body_y = (24 if scene.time in ("day", "night") else 40) + jitter(1)
    if scene.body is not None and scene.body_side is not None:
        drawing.body(painter, scene.body, COLUMN[scene.body_side], body_y)
    if scene.cloudy:
        for side in SIDES:
            y = 16 + STEP * int(generator.integers(2))
            if side == scene.body_side:
                y = body_y + 32
            if side != scene.balloon_side and y <= 56:
                drawing.cloud(painter, COLUMN[side], y)
    drawing.LANDS[scene.land](painter, jitter(2))
    # The house takes its side, the boat or the trees the other one.
    inwards = STEP * int(generator.integers(2))
    house_x = 24 + inwards if scene.house_side == "left" else 104 - inwards
    boat_x = {"left": 88, "right": 40, None: 64}[scene.house_side] + jitter(1)
    trees_x = {"left": 88, "right": 40, None: 64}[scene.house_side]
    if scene.sail is not None:
        if scene.trees is not None:
            trees_x, boat_x = 88, 24
        drawing.boat(painter, OBJECT_COLOURS[scene.sail], boat_x, 96)
    if scene.trees is not None and scene.tree_count is not None:
        count = COUNTS.index(scene.tree_count) + 1
        if count < 3 and scene.sail is None:  # three beside a house or a boat have no room to move
            trees_x += jitter(1)
        for index in range(count):
            x = trees_x + 24 * index - STEP * (0, 1, 3)[count - 1]
            drawing.TREES[scene.trees](painter, x, 116 + 3 * (index % 2))
    if scene.house is not None:
        drawing.house(painter, OBJECT_COLOURS[scene.house], house_x, 120)
    if scene.balloon is not None and scene.balloon_side is not None:
        x, y = COLUMN[scene.balloon_side], 32 + jitter(1)
        if scene.sail is not None:
            y = 24  # clear of the mast
        drawing.balloon(painter, OBJECT_COLOURS[scene.balloon], x, y)
    return painter.finish()


def as_pixels(images: Pixels) -> Tensor:
    """uint8 [batch, height, width, 3] -> float [batch, 3, height, width] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def sheet(images: Sequence[Pixels], columns: int, captions: Sequence[str] = ()) -> Image.Image:
    """The pictures side by side, each with its caption beneath if there are any."""
    gap, text_height = 12, 40 if captions else 0
    rows = math.ceil(len(images) / columns)
    size = columns * (SIZE + gap) + gap, rows * (SIZE + text_height + gap) + gap
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=9)
    for index, pixels in enumerate(images):
        x = gap + index % columns * (SIZE + gap)
        y = gap + index // columns * (SIZE + text_height + gap)
        page.paste(Image.fromarray(pixels), (x, y))
        lines, line = [], ""
        for word in captions[index].split() if captions else ():
            longer = f"{line} {word}".strip()
            if draw.textlength(longer, font=font) > SIZE:
                lines.append(line)
                longer = word
            line = longer
        draw.text((x, y + SIZE + 3), "\n".join([*lines, line][:4]), "#333333", font, spacing=0)
    return page


def main() -> None:
    """Draw a sheet of random scenes."""
    arguments = parse(
        __doc__,
        {
            "count": (36, "number of scenes"),
            "seed": (0, "of the scenes"),
            "output": (Path("training/runs/scenes.png"), "file of the sheet"),
        },
    )
    images = [render(scene) for scene in sample_scenes(arguments.count, arguments.seed)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(images, max(1, round(arguments.count**0.5))).save(arguments.output)
    print(f"{arguments.count} scenes in {arguments.output}")


if __name__ == "__main__":
    main()
