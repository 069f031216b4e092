"""The engine's requests and events: plain records, no torch, no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..network.facts import Sampling


@dataclass(frozen=True)
class PictureRequest:
    """A picture to draw, fully determined: the same request, and prefix, gives the same ids.

    ``text_ids`` are TEXT_POSITIONS ids; ``prefix`` [rows, cols] int64 holds whole rows to continue
    from, and does not count where requests are compared: rows of the same picture are the same.
    Drawing stops after ``stop_row`` rows.
    """

    text_ids: tuple[int, ...]
    seed: int
    image: int
    sampling: Sampling
    stop_row: int
    prefix: NDArray[np.int64] | None = field(default=None, compare=False)

    @property
    def prefix_rows(self) -> int:
        return 0 if self.prefix is None else int(self.prefix.shape[0])


class Ending(Enum):
    """The reason for which the engine left a picture."""

    DRAWN = "drawn"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class RowDrawn:
    """A row of ids [cols] int64, as soon as the device has given it out: on the CPU when its last
    token is sampled, on others up to a row later."""

    picture: int
    row: int
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class PicturePlaced:
    """The picture's place changed: 0 has a slot, 1 is the next to get one."""

    picture: int
    place: int


@dataclass(frozen=True)
class PictureEnded:
    picture: int
    ending: Ending
    text: str = ""


EngineEvent = RowDrawn | PicturePlaced | PictureEnded
