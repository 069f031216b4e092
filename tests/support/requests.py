"""Requests to a runner where only the text and the given ids matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from rowcast_server.engine.request import PictureRequest
from rowcast_server.network.facts import Sampling


def text_request(
    text_ids: tuple[int, ...], given: ArrayLike | None = None, guidance: float = 16.0
) -> PictureRequest:
    """A picture of a text; ``given`` ids count as one row, however many there are."""
    prefix = None if given is None else np.asarray(given, np.int64)[None]
    return PictureRequest(text_ids, 0, 0, Sampling(guidance=guidance), 1, prefix)
