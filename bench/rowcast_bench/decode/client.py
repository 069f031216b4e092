"""What of a decode the whole client is needed for: its first pixels, and its last ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import rowcast
from rowcast.messages import Rows, decode_server, encode
from rowcast.picture import Picture, Recipe, Sampling
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.palette import Palette
from rowcast.terminal.painting.demo import local_server
from rowcast_server.models.loading import LoadedModel

from .files import DecoderFiles, held_out

ROWS: Final = 16
WARM_UP_PICTURES: Final = 3


@dataclass(frozen=True)
class FirstPixels:
    """From a row's frame to the canvas, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class LastPixels:
    """Whether the client's last images are full decodes of their ids, in every uint8 value.

    ``tiers`` had painted the ``pictures`` before, the best last.
    """

    is_equal: bool
    pictures: int
    tiers: tuple[str, ...]


def first_pixels(files: DecoderFiles, pictures: int) -> FirstPixels:
    """Rows of random ids: the frame is decoded, its ids are checked and put into the grid, and the
    rows so far are painted by the palette with paper below."""
    shape = files.shape
    palette = Palette(files.palette.read_bytes(), shape.codebook_size, shape.pixels_per_token)
    recipe = Recipe("random", bytes(8), "", 0, 0, Sampling(1.0, 0, 1.0, 1.0), ROWS, ROWS, 2, None)
    random = np.random.default_rng(0)
    taken = []
    for number in range(WARM_UP_PICTURES + pictures):
        picture = Picture(recipe, shape.codebook_size)
        for row in range(ROWS):
            ids = random.integers(0, shape.codebook_size, ROWS).astype("<u2").tobytes()
            frame = encode(Rows(0, row, ids))
            begun = time.perf_counter()
            message = decode_server(frame)
            assert isinstance(message, Rows)
            picture.add_rows(message.first_row, message.ids)
            palette.paint(picture.grid, ROWS)
            if number >= WARM_UP_PICTURES:
                taken.append(1e3 * (time.perf_counter() - begun))
    return FirstPixels(*(float(np.percentile(taken, share)) for share in (50, 99)))


def last_pixels(
    model: LoadedModel,
    pictures: int,
    cache: Path,
    advance: Callable[[], object] = lambda: None,
) -> LastPixels:
    """Drawn by a server of ``model``, whose files the client fetches into ``cache`` and paints
    with while the pictures form; ``advance`` is called with every picture."""
    detokenizer = Detokenizer(model.detokenizer)
    is_equal = True
    with local_server(model.name) as url, rowcast.connect_sync(url, cache=cache) as client:
        for prompt, seed in held_out(pictures):
            (done,) = client.pictures(prompt, seed=seed)
            wanted = detokenizer.decode(done.picture.grid[None])[0]
            is_equal &= done.image is not None and np.array_equal(np.asarray(done.image), wanted)
            advance()
        return LastPixels(is_equal, pictures, client.tiers)
