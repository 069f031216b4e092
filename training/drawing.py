"""Drawings of the things in a scene: flat colours, smooth edges, large and simple shapes.

Coordinates are scene pixels, 0..128 from the top left; `y` of a standing thing is its foot.
Named colours fill whole tokens: walls, sails and gores share no square of 8x8 pixels with what is
behind them, so a colour looks the same, and has the same codes, before any sky and land.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from training.painter import CLOUDS, Colour, Painter, Point, mix

WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
WOOD = (122, 74, 44)
SLATE = (72, 66, 88)
# Three constellations to choose from: few stars, in places that repeat, so that they can be learnt.
STARS = (
    ((12, 12), (44, 8), (84, 16), (116, 10), (40, 44), (86, 50)),
    ((8, 44), (44, 20), (64, 8), (86, 10), (118, 40), (46, 54)),
    ((10, 8), (40, 32), (82, 6), (88, 36), (118, 14), (10, 56)),
    ((6, 24), (46, 10), (60, 52), (90, 24), (120, 54), (80, 8)),
)
STAR = ((0, -3), (0.8, -0.8), (3, 0), (0.8, 0.8), (0, 3), (-0.8, 0.8), (-3, 0), (-0.8, -0.8))


def stars(painter: Painter, pattern: int) -> None:
    """Six four-pointed stars, at night only."""
    if painter.time != "night":
        return
    for x, y in STARS[pattern]:
        painter.polygon([(x + dx, y + dy) for dx, dy in STAR], (255, 246, 200))


def body(painter: Painter, kind: str, x: float, y: float) -> None:
    """Sun, full moon or crescent moon, 24 pixels across."""
    sky = painter.image.getpixel((int(x * 2), int(y * 2)))
    assert isinstance(sky, tuple)
    backdrop = (int(sky[0]), int(sky[1]), int(sky[2]))
    if kind == "sun":
        core = {"day": (255, 214, 50), "dawn": (255, 196, 84)}.get(painter.time, (255, 226, 96))
        painter.ellipse(x, y, 17, 17, mix(backdrop, core, 0.35))
        painter.ellipse(x, y, 12.5, 12.5, core)
    elif kind == "full moon":
        painter.ellipse(x, y, 16, 16, mix(backdrop, WHITE, 0.16))
        painter.ellipse(x, y, 12, 12, (244, 240, 214))
        for dx, dy, radius in ((-4, -3, 3.0), (4, 3, 3.4), (-2, 6, 2.0)):
            painter.ellipse(x + dx, y + dy, radius, radius, (216, 210, 184))
    else:
        outer = [_polar(x, y, 13, angle) for angle in range(62, 299, 4)]
        inner = [_polar(x + 6, y, 11.6, angle) for angle in range(278, 81, -4)]
        painter.polygon(outer + inner, (255, 236, 150))


def _polar(x: float, y: float, radius: float, degrees: float) -> Point:
    angle = math.radians(degrees)
    return x + radius * math.cos(angle), y + radius * math.sin(angle)


def cloud(painter: Painter, x: float, y: float) -> None:
    """A puffy cloud, 36 pixels wide, with a flat foot."""
    colour = CLOUDS[painter.time]
    painter.ellipse(x - 9, y + 1, 8, 7, colour)
    painter.ellipse(x + 1, y - 3, 10, 9.5, colour)
    painter.ellipse(x + 10, y + 1.5, 7.5, 6.5, colour)
    painter.polygon([(x - 9, y + 1), (x + 10, y + 1), (x + 10, y + 8), (x - 9, y + 8)], colour)


def _wave(painter: Painter, base: float, height: float, phase: float, colour: Colour) -> None:
    """Ground from a rolling line down to the bottom; `phase` in turns, one hill per 96 pixels."""
    line = [(x, base - height * math.sin(2 * math.pi * (x / 96 + phase))) for x in range(0, 131, 2)]
    painter.polygon([*line, (130, 130), (0, 130)], colour)


def mountains(painter: Painter, shift: int) -> None:
    """Three peaks with snow caps behind a green foreground."""
    rock, dark = painter.land((134, 132, 168)), painter.land((106, 106, 146))
    for x, top, half, colour in ((24, 60, 40, dark), (104, 58, 42, dark), (64, 48, 44, rock)):
        peak = x + shift
        painter.polygon([(peak, top), (peak + half, 100), (peak - half, 100)], colour)
        slope, depth = half / (100 - top), 13
        cap = [
            (peak, top),
            (peak + slope * depth, top + depth),
            (peak + slope * depth * 0.35, top + depth - 4),
            (peak, top + depth + 2),
            (peak - slope * depth * 0.35, top + depth - 4),
            (peak - slope * depth, top + depth),
        ]
        painter.polygon(cap, painter.land((246, 248, 255)))
    _wave(painter, 96, 3, 0.1 + shift / 96, painter.land((96, 172, 92)))
    _wave(painter, 110, 3, 0.6 + shift / 96, painter.land((124, 194, 96)))


def sea(painter: Painter, shift: int) -> None:
    """Open water with bright ripples, and a sandy shore in front."""
    painter.gradient(72, 130, painter.land((26, 120, 196)), painter.land((70, 184, 214)))
    ripple = painter.land((140, 208, 236))
    for x, y, width in ((20, 80, 9), (58, 84, 7), (98, 79, 10), (84, 92, 8), (32, 97, 8)):
        painter.ellipse(x + shift, y, width, 1.1, ripple)
    _wave(painter, 106, 3, 0.3 + shift / 96, painter.land((240, 248, 250)))
    _wave(painter, 109, 3, 0.3 + shift / 96, painter.land((246, 216, 150)))


def meadow(painter: Painter, shift: int) -> None:
    """A flat field in bands of green with large flowers."""
    painter.box(0, 76, 130, 130, painter.land((92, 176, 76)))
    painter.box(0, 86, 130, 130, painter.land((124, 200, 84)))
    painter.box(0, 100, 130, 130, painter.land((156, 218, 96)))
    flowers = ((10, 94), (38, 91), (66, 95), (94, 91), (120, 95), (24, 123), (58, 121), (78, 124))
    colours = ((255, 255, 255), (255, 226, 70), (250, 120, 150))
    for index, (x, y) in enumerate((*flowers, (106, 122), (6, 110), (122, 110))):
        painter.ellipse(x + shift, y, 2.4, 2.4, painter.land(colours[index % 3]))


def desert(painter: Painter, shift: int) -> None:
    """Sand dunes, and a flat-topped red rock far away."""
    mesa = painter.land((196, 104, 70))
    left = 64 + shift
    painter.polygon([(left, 90), (left + 7, 58), (left + 33, 58), (left + 40, 90)], mesa)
    _wave(painter, 80, 5, 0.15 + shift / 96, painter.land((226, 172, 94)))
    _wave(painter, 93, 5, 0.55 + shift / 96, painter.land((240, 196, 114)))
    _wave(painter, 108, 4, 0.95 + shift / 96, painter.land((252, 216, 140)))


def hills(painter: Painter, shift: int) -> None:
    """Rolling green hills, darker towards the horizon."""
    _wave(painter, 76, 10, 0.0 + shift / 96, painter.land((48, 130, 92)))
    _wave(painter, 88, 9, 0.45 + shift / 96, painter.land((70, 158, 82)))
    _wave(painter, 104, 6, 0.9 + shift / 96, painter.land((104, 186, 82)))


def snow(painter: Painter, shift: int) -> None:
    """Rolling fields of snow with blue shadows."""
    _wave(painter, 76, 6, 0.2 + shift / 96, painter.land((180, 204, 232)))
    _wave(painter, 89, 6, 0.65 + shift / 96, painter.land((212, 228, 246)))
    _wave(painter, 104, 4, 0.05 + shift / 96, painter.land((244, 248, 255)))


def house(painter: Painter, colour: Colour, x: float, y: float) -> None:
    """A house with a slate roof, 32 pixels wide and 42 high; lit windows at night."""
    painter.box(x + 7, y - 40, x + 12, y - 26, (150, 84, 66))
    painter.box(x - 16, y - 24, x + 16, y, colour)
    painter.polygon([(x - 20, y - 24), (x, y - 42), (x + 20, y - 24)], SLATE)
    glass = (255, 226, 120) if painter.time in ("night", "sunset") else (150, 206, 236)
    for left in (x - 11, x + 4):
        painter.box(left - 1, y - 20, left + 8, y - 11, (252, 250, 244))
        painter.box(left, y - 19, left + 7, y - 12, glass)
    painter.box(x - 4, y - 10, x + 4, y, WOOD)


def pine(painter: Painter, x: float, y: float) -> None:
    """Three stacked triangles, 40 pixels high."""
    painter.box(x - 2, y - 8, x + 2, y, WOOD)
    light, dark = (26, 124, 92), (16, 98, 76)
    for foot, top, half, colour in ((6, 22, 11, dark), (15, 31, 9, light), (24, 41, 7, dark)):
        painter.polygon([(x - half, y - foot), (x, y - top - 1), (x + half, y - foot)], colour)


def round_tree(painter: Painter, x: float, y: float) -> None:
    """A round crown on a short trunk, 37 pixels high."""
    painter.box(x - 2.2, y - 16, x + 2.2, y, WOOD)
    painter.ellipse(x, y - 25, 11, 12, (38, 142, 54))
    painter.ellipse(x - 2, y - 28, 7, 7, (82, 182, 70))


def palm(painter: Painter, x: float, y: float) -> None:
    """A leaning trunk and six fronds, 40 pixels high."""
    trunk = [(x - 2.5, y), (x - 1, y - 16), (x + 1, y - 30), (x + 3.5, y - 30), (x + 2.5, y - 14)]
    painter.polygon([*trunk, (x + 2.5, y)], (158, 108, 62))
    top_x, top_y = x + 2, y - 31
    fronds = ((-11, 9), (-12, 0), (-7, -8), (6, -8), (10, 0), (9, 9))
    for index, (dx, dy) in enumerate(fronds):
        colour = (64, 190, 92) if index % 2 else (40, 156, 74)
        bend_x, bend_y = dx * 0.5 - dy * 0.28, dy * 0.5 - 3.2
        tip = (top_x + dx, top_y + dy)
        lower = (top_x + dx * 0.5, top_y + dy * 0.5 + 2.6)
        painter.polygon([(top_x, top_y), (top_x + bend_x, top_y + bend_y), tip, lower], colour)
    painter.ellipse(top_x - 1, top_y + 2, 2.2, 2.2, (120, 76, 40))


def boat(painter: Painter, colour: Colour, x: float, y: float) -> None:
    """A boat with a square sail, 36 pixels wide, the sail 32 wide and 24 high."""
    painter.box(x - 1, y - 36, x + 1, y - 5, WOOD)
    painter.box(x - 16, y - 32, x, y - 8, mix(BLACK, colour, 0.86))
    painter.box(x, y - 32, x + 16, y - 8, colour)
    painter.box(x - 1, y - 32, x + 1, y - 8, WOOD)
    hull = [(x - 18, y - 6), (x + 18, y - 6), (x + 12, y + 3), (x - 12, y + 3)]
    painter.polygon(hull, (110, 58, 40))
    painter.box(x - 17.5, y - 6, x + 17.5, y - 4, (240, 232, 216))


def balloon(painter: Painter, colour: Colour, x: float, y: float) -> None:
    """A hot-air balloon, 32 pixels wide and 48 high: gores in its colour in a slate envelope."""
    rope = (96, 70, 56)
    painter.polygon([(x - 9, y + 10), (x - 8, y + 10), (x - 3, y + 24), (x - 4, y + 24)], rope)
    painter.polygon([(x + 9, y + 10), (x + 8, y + 10), (x + 3, y + 24), (x + 4, y + 24)], rope)
    painter.ellipse(x, y - 4, 16, 16, SLATE)
    painter.polygon([(x - 14, y + 3), (x + 14, y + 3), (x + 5, y + 17), (x - 5, y + 17)], SLATE)
    for half, shade in ((8, mix(BLACK, colour, 0.84)), (5, colour), (2, mix(colour, WHITE, 0.18))):
        painter.box(x - half, y - 16, x + half, y + 8, shade)
    painter.box(x - 4.5, y + 22, x + 4.5, y + 28, (146, 92, 50))
    painter.box(x - 4.5, y + 22, x + 4.5, y + 23.5, (100, 60, 34))


LANDS: dict[str, Callable[[Painter, int], None]] = {
    land.__name__: land for land in (mountains, sea, meadow, desert, hills, snow)
}
TREES: dict[str, Callable[[Painter, float, float], None]]
TREES = {"pine": pine, "round": round_tree, "palm": palm}
