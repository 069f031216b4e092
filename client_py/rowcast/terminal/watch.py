"""The state of a drawing that is watched: newest images, times that matter, a file's progress."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from PIL import Image

from ..events import Event, PictureAccepted, PictureQueued, RowsArrived
from ..picture import Picture
from ..pixels.artifacts import Progress


class Fetching:
    """A file's progress: a bar while nothing else is shown, then words beside the pictures.

    Called from the thread that fetches.
    """

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self._text = ""
        self._lock = threading.Lock()

    def __call__(self, received: int, announced: int) -> None:
        with self._lock:
            if self.bar is not None:
                self.bar(received, announced)
            is_done = received == announced
            self._text = "" if is_done else f", {received / 1e6:.1f} of {announced / 1e6:.1f} MB"

    def __str__(self) -> str:
        return self._text

    def leave_bar(self) -> None:
        """Show no bar from now on: the pictures take its place in the terminal."""
        with self._lock:
            self.bar = None


@dataclass
class Watch:
    """Pictures that form, as they are seen; times are seconds since ``started``."""

    started: float
    bytes_before: int
    fetching: Fetching
    images: dict[int, Image.Image] = field(default_factory=dict)
    pictures: dict[int, Picture] = field(default_factory=dict)
    first_row_s: float | None = None
    first_rows: int = 0  # held when they came
    last_row_s: float = 0.0
    queue: int = 0

    def take(self, event: Event) -> None:
        """Note the next event."""
        self.pictures[event.index] = event.picture
        if event.image is not None:
            self.images[0 if event.seamless else event.index] = event.image
        match event:
            case PictureAccepted() | PictureQueued():
                self.queue = event.position
            case RowsArrived():
                self.queue = 0
                self.last_row_s = time.perf_counter() - self.started
                if self.first_row_s is None:
                    self.first_row_s, self.first_rows = self.last_row_s, event.picture.rows_held

    @property
    def row_s(self) -> float | None:
        """Seconds from row to row, over the picture that got furthest."""
        rows = max((picture.rows_held for picture in self.pictures.values()), default=0)
        if self.first_row_s is None or rows <= self.first_rows:
            return None
        return (self.last_row_s - self.first_row_s) / (rows - self.first_rows)

    def caption(self, bytes_received: int) -> str:
        """One line about how far the pictures are."""
        if self.queue:
            return f"waiting, place {self.queue} in the queue"
        rows = sum(picture.rows_held for picture in self.pictures.values())
        total = sum(picture.recipe.rows for picture in self.pictures.values())
        received = bytes_received - self.bytes_before
        return f"row {rows} of {total}, {received} bytes, {self.last_row_s:.1f} s{self.fetching}"
