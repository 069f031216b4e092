"""Painter: shapes in scene coordinates on a supersampled canvas, and the palettes of light.

This module must not know about scenes, nor about the things drawn in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 128  # pixels
SUPERSAMPLING = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = NDArray[np.uint8]

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
        light = zip(colour, LAND_LIGHT[self.time], strict=True)
        red, green, blue = (round(value * share) for value, share in light)
        return red, green, blue

    def gradient(self, top: float, bottom: float, first: Colour, last: Colour) -> None:
        """Full-width bands from one colour to another."""
        lines = int((bottom - top) * SUPERSAMPLING)
        for line in range(lines):
            y = int(top * SUPERSAMPLING) + line
            mixed = mix(first, last, line / max(lines - 1, 1))
            self.draw.line([(0, y), (SIZE * SUPERSAMPLING, y)], fill=mixed)

    def finish(self) -> Pixels:
        """uint8 [128, 128, 3]."""
        return np.asarray(self.image.reduce(SUPERSAMPLING))


def mix(first: Colour, last: Colour, share: float) -> Colour:
    """The colour `share` of the way from the first to the last, rounded."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
    return red, green, blue


def _sky(time: str, side: int) -> Pixels:
    """uint8 [side, side, 3]: three stops from the top to the horizon at 0.6 of the height."""
    height = np.linspace(0.0, 1.0, side)
    stops = np.array(SKIES[time], dtype=np.float64)
    column = np.stack([np.interp(height, (0.0, 0.32, 0.6), stops[:, c]) for c in range(3)], axis=1)
    return np.repeat(column[:, None, :], side, axis=1).round().astype(np.uint8)
