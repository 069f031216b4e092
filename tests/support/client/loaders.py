"""Loaders of tiers, without a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rowcast.messages import Model
from rowcast.pixels.loader import TierLoader

SERVER = "ws://127.0.0.1:8765"


@contextmanager
def loader_of(model: Model, **options: Any) -> Iterator[TierLoader]:
    loader = TierLoader(SERVER, **options)
    try:
        loader.load(model)
        yield loader
    finally:
        loader.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
