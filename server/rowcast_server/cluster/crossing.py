"""What crosses between a gateway and a replica: a picture's job one way, events the other."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from ..engine.request import (
    Ending,
    EngineEvent,
    PictureEnded,
    PicturePlaced,
    PictureRequest,
    RowDrawn,
)

Item = tuple[str, int | str, bytes | str]  # of an event: its kind, and what it tells


@dataclass(frozen=True)
class Job:
    """A picture to draw, and whose share of the queue it takes."""

    request: PictureRequest
    client: Hashable


def packed(events: Iterable[EngineEvent]) -> list[Item]:
    """Events of one picture as plain values; ids are little-endian, of 32 bits."""
    items: list[Item] = []
    for event in events:
        match event:
            case PicturePlaced():
                items.append(("placed", event.place, b""))
            case RowDrawn():
                items.append(("row", event.row, event.ids.astype("<u4").tobytes()))
            case PictureEnded():
                items.append(("ended", event.ending.value, event.text))
    return items


def unpacked(picture: int, items: Iterable[Item]) -> list[EngineEvent]:
    """The events again, of the gateway's number of the picture. Raises ValueError."""
    events: list[EngineEvent] = []
    for kind, which, what in items:
        match kind, which, what:
            case "placed", int(place), _:
                events.append(PicturePlaced(picture, place))
            case "row", int(row), bytes(ids):
                events.append(RowDrawn(picture, row, np.frombuffer(ids, "<u4").astype(np.int64)))
            case "ended", str(ending), str(text):
                events.append(PictureEnded(picture, Ending(ending), text))
            case _:
                raise ValueError(f"a replica sent {kind!r}")
    return events
