"""The pictures `postcard` learns from: flat-design landscapes drawn from a list of attributes.

A `Scene` says everything that is in a picture; `render` draws it, and the same scene always gives
the same 128x128 pixels. `sample_scene` draws a scene at random. `is_held_out` names the pairs of
attributes that no training scene contains, so that evaluation asks for pictures never seen.

This module must not know about captions, tokens or networks.

    python -m training.scenes --count 36 --output sheet.png     # look at the data
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 128  # pixels
SUPERSAMPLING = 2

TIMES = ("day", "dawn", "sunset", "night")
LANDS = ("mountains", "sea", "meadow", "desert", "hills", "snow")
BODIES = ("sun", "full moon", "crescent moon")
SIDES = ("left", "middle", "right")
HOUSE_SIDES = ("left", "right")
HOUSE_COLOURS = ("red", "orange", "yellow", "blue", "pink", "white")
TREES = ("pine", "round", "palm")
COUNTS = ("one", "two", "three")
SAIL_COLOURS = ("red", "orange", "yellow", "green", "pink", "white")
BALLOON_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")

Colour = tuple[int, int, int]
Point = tuple[float, float]

OBJECT_COLOURS: dict[str, Colour] = {
    "red": (222, 38, 44),
    "orange": (255, 138, 18),
    "yellow": (255, 220, 40),
    "green": (40, 168, 84),
    "blue": (36, 92, 214),
    "purple": (128, 56, 180),
    "pink": (255, 122, 182),
    "white": (250, 250, 246),
}
SKIES: dict[str, tuple[Colour, Colour, Colour]] = {  # top, middle, horizon
    "day": ((52, 148, 230), (112, 190, 244), (196, 232, 250)),
    "dawn": ((138, 164, 226), (232, 190, 220), (255, 226, 190)),
    "sunset": ((84, 44, 128), (214, 78, 100), (255, 176, 74)),
    "night": ((10, 16, 50), (24, 36, 88), (52, 70, 138)),
}
LAND_LIGHT: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "dawn": (1.0, 0.92, 0.95),
    "sunset": (0.92, 0.74, 0.70),
    "night": (0.40, 0.47, 0.72),
}
CLOUDS: dict[str, Colour] = {
    "day": (255, 255, 255),
    "dawn": (255, 240, 244),
    "sunset": (250, 158, 140),
    "night": (78, 92, 150),
}
COLUMN = {"left": 24, "middle": 64, "right": 104}
STEP = (
    8  # pixels, a token: places move in whole tokens, so that a thing has the same codes anywhere
)


@dataclass(frozen=True)
class Scene:
    """Everything that is in a picture. `None` means absent; `layout` seeds the places of things."""

    time: str
    land: str
    cloudy: bool
    body: str | None
    body_side: str | None
    house: str | None
    house_side: str | None
    trees: str | None
    tree_count: str | None
    sail: str | None
    balloon: str | None
    balloon_side: str | None
    layout: int


def is_held_out(scene: Scene) -> bool:
    """Whether the scene holds a pair of attributes that training never sees (17 pairs)."""
    return bool(held_out_pairs(scene))


def held_out_pairs(scene: Scene) -> list[tuple[str, str]]:
    """The held-out pairs in the scene, such as ("balloon green", "dawn").

    Of things that share no token: a palm's edge before snow would be a code that training never
    shows, which nobody could draw, however well the words are understood (NOTES.md).
    """
    time, land = TIMES.index(scene.time), LANDS.index(scene.land)
    pairs = []
    if scene.balloon and (BALLOON_COLOURS.index(scene.balloon) + 3 * time) % 8 == 4:
        pairs.append((f"balloon {scene.balloon}", scene.time))
    if scene.house and (HOUSE_COLOURS.index(scene.house) + land) % 6 == 2:
        pairs.append((f"house {scene.house}", scene.land))
    if scene.sail and (SAIL_COLOURS.index(scene.sail) + time) % 6 == 3:
        pairs.append((f"sail {scene.sail}", scene.time))
    if (scene.trees, scene.house) in {("pine", "yellow"), ("round", "red"), ("palm", "blue")}:
        pairs.append((f"trees {scene.trees}", f"house {scene.house}"))
    return pairs


def sample_scene(generator: np.random.Generator, held_out: bool | None = None) -> Scene:
    """A random scene; `held_out` True or False asks for one with, or without, held-out pairs."""
    while True:
        scene = _sample_any(generator)
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def _sample_any(generator: np.random.Generator) -> Scene:
    def choose(values: Sequence[str]) -> str:
        return values[int(generator.integers(len(values)))]

    time, land = choose(TIMES), choose(LANDS)
    kinds = ["house", "trees", "balloon"] + (["boat", "boat"] if land == "sea" else [])
    wanted = int(generator.choice([1, 2, 3], p=[0.35, 0.45, 0.20]))
    objects = set(generator.permutation(kinds)[:wanted].tolist())
    if {"boat", "house", "trees"} <= objects:  # the shore has room for one of the two
        objects.discard(choose(("house", "trees")))
    balloon_side = choose(SIDES) if "balloon" in objects else None
    body = body_side = None
    if generator.random() < 0.75:
        body = choose(("full moon", "crescent moon")) if time == "night" else "sun"
        body_side = choose([side for side in SIDES if side != balloon_side])
    return Scene(
        time=time,
        land=land,
        cloudy=bool(generator.random() < 0.5),
        body=body,
        body_side=body_side,
        house=choose(HOUSE_COLOURS) if "house" in objects else None,
        house_side=choose(HOUSE_SIDES) if "house" in objects else None,
        trees=choose(TREES) if "trees" in objects else None,
        tree_count=choose(COUNTS) if "trees" in objects else None,
        sail=choose(SAIL_COLOURS) if "boat" in objects else None,
        balloon=choose(BALLOON_COLOURS) if "balloon" in objects else None,
        balloon_side=balloon_side,
        layout=int(generator.integers(2**31)),
    )


class Painter:
    """Draws in scene coordinates (0..128) on a supersampled canvas, in the light of the time."""

    def __init__(self, time: str) -> None:
        self.time = time
        side = SIZE * SUPERSAMPLING
        self.image = Image.fromarray(_sky(time, side))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        self.draw.polygon(scaled, fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled ellipse about (x, y) of the given half width and half height."""
        corners = (x - width, y - height, x + width, y + height)
        self.draw.ellipse([corner * SUPERSAMPLING for corner in corners], fill=colour)

    def land(self, colour: Colour) -> Colour:
        """The colour of ground in this light."""
        return _lit(colour, LAND_LIGHT[self.time])

    def gradient(self, top: float, bottom: float, first: Colour, last: Colour) -> None:
        """Full-width bands from one colour to another."""
        lines = int((bottom - top) * SUPERSAMPLING)
        for line in range(lines):
            y = int(top * SUPERSAMPLING) + line
            mixed = _mix(first, last, line / max(lines - 1, 1))
            self.draw.line([(0, y), (SIZE * SUPERSAMPLING, y)], fill=mixed)

    def finish(self) -> np.ndarray:
        """uint8 [128, 128, 3]."""
        return np.asarray(self.image.reduce(SUPERSAMPLING))


def _mix(first: Colour, last: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
    return red, green, blue


def _lit(colour: Colour, light: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(a * b) for a, b in zip(colour, light, strict=True))
    return red, green, blue


def _sky(time: str, side: int) -> np.ndarray:
    """uint8 [side, side, 3]: three stops from the top to the horizon at 0.6 of the height."""
    height = np.linspace(0.0, 1.0, side)
    stops = np.array(SKIES[time], dtype=np.float64)
    column = np.stack([np.interp(height, (0.0, 0.32, 0.6), stops[:, c]) for c in range(3)], axis=1)
    return np.repeat(column[:, None, :], side, axis=1).round().astype(np.uint8)


def render(scene: Scene) -> np.ndarray:
    """Draw the scene: uint8 [128, 128, 3]. The same scene always gives the same pixels."""
    from training import drawing

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


def sheet(images: Sequence[np.ndarray], columns: int, scale: int = 1) -> Image.Image:
    """The pictures side by side with a white gap."""
    gap, side = 6, SIZE * scale
    rows = math.ceil(len(images) / columns)
    step = side + gap
    page = Image.new("RGB", (columns * step + gap, rows * step + gap), "white")
    for index, pixels in enumerate(images):
        picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
        page.paste(picture, (gap + index % columns * step, gap + index // columns * step))
    return page


def main() -> None:
    """Draw a sheet of random scenes."""
    parser = argparse.ArgumentParser(description="Draw a sheet of random training scenes.")
    parser.add_argument("--count", type=int, default=36, help="how many scenes (default 36)")
    parser.add_argument("--seed", type=int, default=0, help="which scenes (default 0)")
    parser.add_argument("--output", type=Path, default=Path("training/runs/scenes.png"))
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    images = [render(sample_scene(generator)) for _ in range(arguments.count)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(images, columns=max(1, round(arguments.count**0.5))).save(arguments.output)
    print(f"{arguments.count} scenes in {arguments.output}")


if __name__ == "__main__":
    main()
