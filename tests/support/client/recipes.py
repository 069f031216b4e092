"""A picture of the tiny model, with a recipe that tests the ends of each field."""

from __future__ import annotations

import numpy as np
from rowcast.messages import DoneReason
from rowcast.picture import Picture, Recipe, Sampling


def picture_of(rows_held: int, reason: DoneReason | None = None) -> Picture:
    recipe = Recipe(
        model="tiny",
        revision=bytes.fromhex("1122334455667788"),
        prompt="a réd bōat 🚤",
        seed=2**32 - 1,
        image=3,
        sampling=Sampling(0.5, 32, 0.9, 4.0),
        rows=4,
        cols=4,
        id_bytes=2,
        detokenizer_sha256=bytes(32),
    )
    picture = Picture(recipe)
    if rows_held:
        picture.add_rows(0, np.arange(4 * rows_held).astype("<u2").tobytes())
    picture.reason = reason
    return picture
