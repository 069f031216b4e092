"""What a caller sees while pictures form."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from .messages import DoneReason
from .picture import Picture


@dataclass(frozen=True)
class Event:
    """Something happened to picture number ``index`` of the request.

    ``picture`` holds its ids and recipe, ``image`` the picture so far (None before its first row,
    or where the client was opened with ``decode=False``). Of a ``seamless`` request it is all the
    request's pictures so far, joined as one. ``tier`` says what painted the newest rows of it:
    ``palette``, ``preview`` or ``full``.
    """

    index: int
    picture: Picture
    image: Image | None
    seamless: bool = field(default=False, kw_only=True)
    tier: str | None = field(default=None, kw_only=True)

    @property
    def seed(self) -> int:
        return self.picture.recipe.seed


@dataclass(frozen=True)
class PictureAccepted(Event):
    """The server took the picture; ``position`` 0 draws already, 1 is next."""

    position: int


@dataclass(frozen=True)
class PictureQueued(Event):
    """The picture's place in the queue changed; 0 is being drawn."""

    position: int


@dataclass(frozen=True)
class RowsArrived(Event):
    """New rows, ``rows`` [new, cols] ids from ``first_row`` on. ``image`` shows them."""

    first_row: int
    rows: NDArray[np.uint32]


@dataclass(frozen=True)
class PictureRepainted(Event):
    """Rows that were told before, painted better: ``image`` shows what there is by now."""


@dataclass(frozen=True)
class PictureDone(Event):
    """The end of a picture. ``image`` equals a decode of all its rows at once, by the best that
    the client's ``quality`` allows: ``full`` waits for the full detokenizer. Of a picture that
    ended early it is `Decoder.paint` of the rows held.

    Of a ``seamless`` request the last event's does: of the whole mosaic.
    """

    reason: DoneReason | int
