"""From notices to events: fetches the detokenizer and paints the newest state of a picture."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .artifacts import Progress, choose_file, fetch
from .canvas import Picture
from .detokenizer import Detokenizer
from .errors import DetokenizerError
from .events import Event, PictureAccepted, PictureDone, PictureQueued, RowsArrived
from .generation import AcceptedNotice, DoneNotice, Notice, QueuedNotice, RowsNotice
from .messages import Model


class Painter:
    """Paints the pictures of one server. The arguments are those of `connect`."""

    def __init__(
        self,
        url: str,
        cache: Path | None,
        allowed_hosts: Collection[str],
        progress: Progress | None,
        threads: int,
    ) -> None:
        self._url = url
        self._cache = cache
        self._allowed_hosts = allowed_hosts
        self._progress = progress
        self._threads = threads
        self.detokenizer: Detokenizer | None = None
        self._model = ""
        # The last image of each picture and the rows it shows: decoded once, told twice.
        self._painted: WeakKeyDictionary[Picture, tuple[int, Image.Image]] = WeakKeyDictionary()

    def load(self, model: Model) -> None:
        """Fetch and load the model's detokenizer. Raises DetokenizerError."""
        file = choose_file(model)
        path = fetch(file, self._url, self._allowed_hosts, self._cache, self._progress)
        self.detokenizer = Detokenizer(path, self._threads)
        self._model = model.name

    def paint(self, picture: Picture, grid: NDArray[np.integer]) -> Image.Image | None:
        """The picture with the rows of ``grid`` [held, cols]; None before its first row.

        Raises DetokenizerError for a picture of another model than `load` was given.
        """
        if len(grid) == 0 or self.detokenizer is None:
            return None
        self.check(picture)
        rows, image = self._painted.get(picture, (0, None))
        if image is None or rows != len(grid):
            image = Image.fromarray(self.detokenizer.paint(grid, picture.recipe.rows))
            self._painted[picture] = (len(grid), image)
        return image

    def check(self, picture: Picture) -> None:
        """Raises DetokenizerError for a picture of another model than `load` was given."""
        if picture.recipe.model != self._model:
            raise DetokenizerError(
                f"this client paints pictures of {self._model}, not of {picture.recipe.model}; "
                "open it with decode=False to receive their ids"
            )


def make_event(notice: Notice, painter: Painter | None) -> Event:
    """A caller's event from a session's notice. May take as long as a decode."""
    index, picture = notice.index, notice.picture

    def image(grid: NDArray[np.integer]) -> Image.Image | None:
        return None if painter is None else painter.paint(picture, grid)

    match notice:
        case AcceptedNotice():
            return PictureAccepted(index, picture, image(picture.grid), notice.position)
        case QueuedNotice():
            return PictureQueued(index, picture, image(picture.grid), notice.position)
        case RowsNotice():
            new = notice.grid[notice.first_row :]
            return RowsArrived(index, picture, image(notice.grid), notice.first_row, new)
        case DoneNotice():
            return PictureDone(index, picture, image(picture.grid), notice.reason)
        case _:
            raise AssertionError(f"no event for {notice}")
