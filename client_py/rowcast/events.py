"""Events of pictures that form, as a caller of `generate` receives them.

The session tells them without pixels; `pixels.easel` fills ``image`` and ``tier`` in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from .errors import RequestRefused
from .messages import DoneReason
from .picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, repr=False)
class Event:
    """Something happened to picture number ``index`` of the request.

    ``picture`` holds its ids and recipe, ``image`` the picture so far (None before its first row,
    or where the client was opened with ``decode=False``). Of a ``seamless`` request it is all the
    request's pictures so far, joined as one. ``tier`` names the decoder of its newest rows:
    ``palette``, ``preview`` or ``full``.
    """

    index: int
    picture: Picture
    image: Image | None = field(default=None, kw_only=True)
    seamless: bool = field(default=False, kw_only=True)
    tier: str | None = field(default=None, kw_only=True)

    @property
    def seed(self) -> int:
        """The picture's seed, also where the server chose it."""
        return self.picture.recipe.seed

    def __repr__(self) -> str:
        """A line to read: without pixels and ids."""
        held, recipe = self.picture.rows_held, self.picture.recipe
        told = {"prompt": recipe.prompt, "seed": self.seed, "rows_held": f"{held}/{recipe.rows}"}
        told |= {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("picture", "image", "rows"):
            told.pop(name, None)
        shown = (
            f"{name}={value if isinstance(value, DoneReason) else repr(value)}"
            for name, value in told.items()
            if value is not None and value is not False
        )
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class PictureAccepted(Event):
    """The server took the picture; ``position`` 0 draws already, 1 is next."""

    position: int


@dataclass(frozen=True, repr=False)
class PictureQueued(Event):
    """The picture's place in the queue changed; 0 is being drawn."""

    position: int


@dataclass(frozen=True, repr=False)
class RowsArrived(Event):
    """New rows, ``rows`` [new, cols] ids from ``first_row`` on. ``image`` shows them."""

    first_row: int
    rows: NDArray[np.uint32]


@dataclass(frozen=True, repr=False)
class PictureRepainted(Event):
    """Rows that were told before, painted better: ``image`` shows all there is by now."""


@dataclass(frozen=True, repr=False)
class PictureDone(Event):
    """The end of a picture.

    Of a complete picture ``image`` equals one decode of all its rows, by the best that the client's
    ``quality`` allows: ``full`` waits for the full detokenizer. Of one that ended early it shows
    the rows held, as that decoder paints pictures that form. Of a ``seamless`` request this holds
    for the last event, and the whole mosaic.
    """

    reason: DoneReason | int


@dataclass(frozen=True, repr=False)
class PictureFailed(Event):
    """The end of a picture that the server could not finish; ``image`` shows the rows held.

    The others of the request go on; when they have ended, the request raises ``error``, or that of
    the first that failed. A picture that was never accepted has no event of its own.
    """

    error: RequestRefused


ENDS: Final = (PictureDone, PictureFailed)


def finished(ends: Iterable[PictureDone]) -> list[PictureDone]:
    """The ends of a request's pictures in order of their index.

    Of a seamless request each has the image of the last one: the finished mosaic.
    """
    told = list(ends)
    in_order = sorted(told, key=lambda end: end.index)
    return [replace(end, image=told[-1].image) if end.seamless else end for end in in_order]
