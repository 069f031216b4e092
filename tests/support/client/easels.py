"""Painting without sockets: notices put in by hand, decodes run when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rowcast.events import Event
from rowcast.generation import Generation
from rowcast.messages import Model
from rowcast.pixels.easel import Easel
from rowcast.pixels.loader import TierLoader
from rowcast.pixels.tiers import Tier
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.support.fake_server import COLS, MODEL, ROWS, welcome

SIDE = MODEL.pixels_per_token
PALETTE, PREVIEW, FULL = (1, 1, 1), (2, 2, 2), (4, 4, 4)


@dataclass
class PlainDecoder:
    """Paints every id in one colour, and notes what it was given."""

    colour: tuple[int, int, int]
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    painted: list[int] = field(default_factory=list)  # rows of each picture so far
    pixels_per_token: int = SIDE

    def decode(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        self.shapes.append(ids.shape[1:])
        batch, rows, cols = ids.shape
        return np.full((batch, rows * SIDE, cols * SIDE, 3), self.colour, np.uint8)

    def paint(self, grid: NDArray[np.integer], rows: int) -> NDArray[np.uint8]:
        self.painted.append(len(grid))
        return np.full((rows * SIDE, grid.shape[1] * SIDE, 3), self.colour, np.uint8)


def plain_tier(name: str, decoder: PlainDecoder) -> Tier:
    """A tier of one colour."""
    return Tier(name, f"{name} in {decoder.colour}", decoder)


def plain_loader(*, last: str = "full", **decoders: PlainDecoder) -> TierLoader:
    """A loader that has these tiers, by name, and needs no files."""
    loader = TierLoader("ws://127.0.0.1:1")
    loader._model, loader.last_name = MODEL, last
    for name, decoder in decoders.items():
        loader.add(plain_tier(name, decoder))
    return loader


class Table:
    """A request to a server that a test plays, and the easel of its pictures."""

    def __init__(
        self,
        loader: TierLoader | None,
        images: int = 1,
        seamless: bool = False,
        model: Model = MODEL,
        stop_row: int | None = None,
    ) -> None:
        self.session = ClientSession()
        self.session.hello()
        self.session.receive(welcome(model))
        self.generation: Generation = self.session.start(
            Request("a red boat", images, stop_row=stop_row)
        )[0]
        self.woken = 0
        self.easel = Easel(self.generation, loader, seamless, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def receive(self, *frames: bytes) -> None:
        for frame in frames:
            self.session.receive(frame)

    def told(self) -> list[Event]:
        """All events that can be told without a decode."""
        events = []
        while (event := self.easel.next_event()) is not None:
            events.append(event)
        return events

    def settle(self) -> list[Event]:
        """All events until nothing is left to tell or to decode."""
        events = []
        while True:
            event = self.easel.next_event()
            decode: Callable[[], None] | None = self.easel.next_decode()
            if decode is not None:
                decode()
            if event is not None:
                events.append(event)
            elif decode is None:
                return events


def colours(event: Event) -> list[tuple[int, int, int]]:
    """The colour of each row of ids in an event's image, at its left edge."""
    assert event.image is not None
    pixels = np.asarray(event.image)
    assert pixels.shape == (ROWS * SIDE, COLS * SIDE, 3)
    return [tuple(pixels[row * SIDE, 0].tolist()) for row in range(ROWS)]


def palette() -> PlainDecoder:
    return PlainDecoder(PALETTE)


def preview() -> PlainDecoder:
    return PlainDecoder(PREVIEW)


def full() -> PlainDecoder:
    return PlainDecoder(FULL)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
