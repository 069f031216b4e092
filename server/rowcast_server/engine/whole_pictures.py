"""Pictures drawn by an engine from their first row to their last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .engine import Engine
from .request import PictureRequest, RowDrawn


def draw_together(
    engine: Engine,
    requests: Sequence[PictureRequest],
    advance: Callable[[], object] = lambda: None,
) -> list[NDArray[np.int64]]:
    """The rows that an idle engine draws for each request, int64 [rows, cols]; ``advance`` is
    called with every row."""
    for number, request in enumerate(requests):
        engine.submit(number, request, client=number)
    rows: list[list[NDArray[np.int64]]] = [[] for _ in requests]
    while not engine.idle:
        for event in engine.step():
            if isinstance(event, RowDrawn):
                rows[event.picture].append(event.ids)
                advance()
    return [np.stack(each) for each in rows]


def draw_whole(engine: Engine, request: PictureRequest) -> NDArray[np.int64]:
    """The same for one picture, alone."""
    return draw_together(engine, [request])[0]
