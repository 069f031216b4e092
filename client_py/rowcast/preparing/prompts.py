"""Prompts that any text-to-image model may be given, made from lists: the same ones everywhere.

Of a model's own pictures a small decoder is taught, so the prompts are to lead to as many kinds of
pictures, not to be answered well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

SUBJECTS: Final = (
    *(
        "a house",
        "a red barn",
        "a castle",
        "a lighthouse",
        "a windmill",
        "a church",
        "a skyscraper",
    ),
    *("a bridge", "a ruined temple", "a market stall", "a cat", "a dog", "a horse", "an owl"),
    *("a fox", "an elephant", "a whale", "a butterfly", "a parrot", "a sailing boat", "a train"),
    *("a bicycle", "an old car", "a hot air balloon", "a spaceship", "a robot", "a knight"),
    *("an old man", "a girl with an umbrella", "a dancer", "a fisherman", "a face", "two friends"),
    *("a bowl of fruit", "a cup of coffee", "a loaf of bread", "a vase of flowers", "a sunflower"),
    *("a pine tree", "three palm trees", "a mushroom", "an armchair", "a piano", "a guitar"),
    *("a clock", "a chess board", "a pile of books", "a crystal", "a waterfall", "a volcano"),
    *("the moon", "a planet with rings", "a maze", "a mask"),
)
PLACES: Final = (
    *("by the sea", "in the snow", "in a meadow", "in the desert", "in a forest", "on a mountain"),
    *("in the rain", "in a city at night", "in a small village", "on a wooden table", "in a room"),
    *("under a starry sky", "at sunset", "at dawn", "in the fog", "under water", "in a garden"),
    *("on a white background", "on a black background", "seen from above", "behind a window"),
)
STYLES: Final = (
    *("a photograph", "an oil painting", "a watercolour", "a pencil drawing", "a woodcut"),
    *("a children's drawing", "a poster", "pixel art", "a mosaic", "a black and white photograph"),
    *("a close-up", "a cartoon", "a stained glass window"),
)
STRIDE: Final = 6_469  # a prime that divides none of the lists: neighbours have little in common
COUNT: Final = 4_000


def general_prompts() -> Iterator[str]:
    """``COUNT`` prompts, no two the same, of all kinds from the first few on."""
    sizes = len(SUBJECTS), len(PLACES), len(STYLES)
    for number in range(COUNT):
        place = number * STRIDE % math.prod(sizes)
        place, style = divmod(place, sizes[2])
        subject, where = divmod(place, sizes[1])
        yield f"{STYLES[style]} of {SUBJECTS[subject]} {PLACES[where]}"
