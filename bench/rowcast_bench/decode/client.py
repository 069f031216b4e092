"""The last images of a whole client, beside full decodes of their ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rowcast
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.terminal.demo import local_server
from rowcast_server.models.loading import LoadedModel

from .files import held_out


def last_images_are_full_decodes(
    model: LoadedModel,
    pictures: int,
    cache: Path,
    advance: Callable[[], object] = lambda: None,
) -> bool:
    """Have a server of ``model`` draw, and a client paint with the files that it fetches.

    True if its last images are full decodes of their ids, in every uint8 value. It keeps files in
    ``cache``, and paints while the pictures form. ``advance`` is called with every picture.
    """
    detokenizer = Detokenizer(model.detokenizer)
    is_equal = True
    with local_server(model.name) as url, rowcast.connect_sync(url, cache=cache) as client:
        for prompt, seed in held_out(pictures):
            (done,) = client.pictures(prompt, seed=seed)
            wanted = detokenizer.decode(done.picture.grid[None])[0]
            is_equal &= done.image is not None and np.array_equal(np.asarray(done.image), wanted)
            advance()
    return is_equal
