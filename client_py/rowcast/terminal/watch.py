"""The state of a drawing that is watched: newest images, times that matter, a file's progress."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Self

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..events import Event, PictureAccepted, PictureQueued, RowsArrived
from ..picture import Picture
from .painting import Lines


class Fetching:
    """A file's progress: a bar within its ``with`` block, then words beside the pictures.

    Called from the thread that fetches. The bar is shown once there is something to show.
    """

    def __init__(self, console: Console) -> None:
        self._bar: Progress | None = Progress(
            TextColumn("detokenizer"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._lines = None if console.is_terminal else Lines(console)
        self._task = self._bar.add_task("download", total=None)
        self._text = ""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            self._bar = None

    def __call__(self, received: int, announced: int) -> None:
        is_done = received == announced
        with self._lock:
            if self._bar is not None:
                if not self._bar.live.is_started:
                    self._bar.start()
                self._bar.update(self._task, completed=received, total=announced)
                if is_done:
                    self._bar.stop()
            self._text = "" if is_done else f", {received / 1e6:.1f} of {announced / 1e6:.1f} MB"
            if self._bar is not None and self._lines is not None and not is_done:
                self._lines(f"fetching the detokenizer{self._text}")

    def __str__(self) -> str:
        return self._text


@dataclass
class Watch:
    """Pictures that form, as they are seen; times are seconds since ``started``.

    ``title`` comes before each caption; of each picture ``stop_row`` rows are awaited, or all.
    ``failed`` tells what went wrong by the picture's index; by None, with the request.
    """

    started: float
    bytes_before: int
    fetching: Fetching
    images: dict[int, Image.Image] = field(default_factory=dict)
    pictures: dict[int, Picture] = field(default_factory=dict)
    first_row_s: float | None = None
    first_rows: int = 0  # held when they came
    last_row_s: float = 0.0
    queue: int = 0
    title: str = ""
    number: int = 1  # of the prompt
    prompt: str = ""
    failed: dict[int | None, str] = field(default_factory=dict)
    stop_row: int | None = None

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
            return f"{self.title}waiting, place {self.queue} in the queue"
        rows = sum(picture.rows_held for picture in self.pictures.values())
        total = sum(self.stop_row or picture.recipe.rows for picture in self.pictures.values())
        received = bytes_received - self.bytes_before
        told = f"row {rows} of {total}, {received} bytes, {self.last_row_s:.1f} s{self.fetching}"
        return self.title + told
