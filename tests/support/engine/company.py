"""Trials of pictures among others: random arrivals, cancels, texts, images, sampling, prefixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest, RowDrawn
from rowcast_server.engine.runner import Runner
from rowcast_server.network.facts import Sampling

JOBS = 8


@dataclass(frozen=True)
class Trials:
    """Pictures that ran to their end among others, and how many of them differ from alone."""

    pictures: int
    different: int


def jobs(texts: Sequence[tuple[int, ...]], rows: int, seed: int) -> list[PictureRequest]:
    """JOBS requests that differ in all that a request has."""
    random = np.random.default_rng(seed)
    return [
        PictureRequest(
            texts[int(random.integers(len(texts)))],
            seed=int(random.integers(2**32)),
            image=int(random.integers(4)),
            sampling=Sampling(
                temperature=float(random.uniform(0.4, 1.6)),
                top_k=int(random.choice([0, 8, 64])),
                top_p=float(random.choice([1.0, 0.9])),
                guidance=float(random.uniform(0, 16)),
            ),
            stop_row=rows,
        )
        for _ in range(JOBS)
    ]


def trials(
    runner: Runner,
    requests: Sequence[PictureRequest],
    alone: Sequence[NDArray[np.int64]],
    count: int,
    latest: int,
    advance: Callable[[], object] = lambda: None,
) -> Trials:
    """Each trial starts every job at a random step up to ``latest``, some from a prefix of theirs,
    and cancels two of them on the way."""
    random = np.random.default_rng(count)
    pictures = different = 0
    for _ in range(count):
        engine = Engine(runner)
        starts = random.integers(0, latest, len(requests))
        prefixes = [int(random.integers(0, len(rows))) for rows in alone]
        cancelled = {int(n): int(random.integers(1, latest)) for n in random.choice(JOBS, 2, False)}
        drawn: dict[int, list[NDArray[np.int64]]] = {number: [] for number in range(JOBS)}
        step = 0
        while step <= latest or not engine.idle:
            for number, request in enumerate(requests):
                if starts[number] == step:
                    given = alone[number][: prefixes[number]] if random.random() < 0.5 else None
                    prefixes[number] = 0 if given is None else len(given)
                    prefix = None if prefixes[number] == 0 else given
                    engine.submit(number, replace(request, prefix=prefix), client=number % 3)
                elif cancelled.get(number) == step:
                    engine.cancel(number)
            for event in engine.step():
                if isinstance(event, RowDrawn):
                    drawn[event.picture].append(event.ids)
            step += 1
        for number, rows in drawn.items():
            expected = alone[number][prefixes[number] :][: len(rows)]
            pictures += number not in cancelled
            different += bool(rows) and not np.array_equal(np.stack(rows), expected)
            different += number not in cancelled and len(rows) < len(expected)
        advance()
    return Trials(pictures, different)
