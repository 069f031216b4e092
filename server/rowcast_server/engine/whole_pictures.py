"""Pictures drawn by an engine from their first row to their last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest, RowDrawn
from rowcast_server.models.loading import Transformer
from rowcast_server.models.text import unconditional_ids

UNCONDITIONAL: Final = tuple(int(token) for token in unconditional_ids())


def text_of(model: Transformer, prompt: str) -> tuple[int, ...]:
    """The text ids of a prompt, as requests carry them."""
    return tuple(int(token) for token in model.tokenizer.encode(prompt).ids)


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
