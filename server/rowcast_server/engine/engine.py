"""The engine's step loop: requests in, rows out. Knows neither sockets, nor asyncio, nor torch.

Not thread-safe: one thread owns an engine (see bridge.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from .request import Ending, EngineEvent, PictureEnded, PicturePlaced, PictureRequest, RowDrawn
from .runner import WINDOW, PendingRow, Runner
from .scheduler import Scheduler

NOT_FINITE = "the model's logits are not finite; are its weights damaged?"


@dataclass(eq=False)
class _Drawing:
    """A picture on its way: its request and the next position to be drawn."""

    picture: int
    request: PictureRequest
    position: int = 0
    place: int | None = None  # as last told: 0 runs, 1 is next


@dataclass(frozen=True)
class _Row:
    """A row that was drawn and is not yet among the events returned."""

    drawing: _Drawing
    row: int
    pending: PendingRow
    step: int  # at which its last token was drawn


class Engine:
    """Continuous batching: draws many pictures together, each at its own position.

    A picture joins at the next step after a slot is free and leaves with its last token. Its ids
    depend on its request alone.
    """

    def __init__(self, runner: Runner) -> None:
        self.grid = runner.grid
        self._runner = runner
        self._scheduler: Scheduler[_Drawing] = Scheduler(runner.slots)
        self._drawings: dict[int, _Drawing] = {}
        self._rows: deque[_Row] = deque()
        self._steps = 0

    @property
    def idle(self) -> bool:
        return not self._drawings

    def submit(self, picture: int, request: PictureRequest, client: Hashable = None) -> None:
        """Queue a picture under the caller's number."""
        drawing = _Drawing(picture, request)
        self._scheduler.put(client, drawing)
        self._drawings[picture] = drawing

    def cancel(self, picture: int) -> list[EngineEvent]:
        """End a picture now, waiting or running; nothing happens to one that has ended."""
        drawing = self._drawings.get(picture)
        if drawing is None:
            return []
        self._scheduler.remove(drawing)
        return [self._end(drawing, Ending.CANCELLED)]

    def fail_all(self, text: str) -> list[EngineEvent]:
        """End every picture after a failure of the machine; the engine itself goes on."""
        drawings = list(self._drawings.values())
        self._scheduler.clear()
        self._rows.clear()
        return [self._end(drawing, Ending.FAILED, text) for drawing in drawings]

    def step(self) -> list[EngineEvent]:
        """Draw a token, or more, of every running picture."""
        events = self._admit()
        running = list(self._scheduler.running)
        if running:
            self._fill(running)
            positions = np.array([drawing.position for drawing in running], np.int64)
            drawn = self._runner.step(positions)
            for slot, drawing in enumerate(running):
                self._advance(slot, drawing, int(drawn[slot]))
            self._steps += 1
        return [*events, *self._tell()]

    def _admit(self) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        for slot, drawing in self._scheduler.admit():
            self._runner.open(slot, drawing.request)
            drawing.place = 0
            events.append(PicturePlaced(drawing.picture, 0))
        for source, destination in self._scheduler.compact():
            self._runner.move(source, destination)
        for place, drawing in enumerate(self._scheduler.order(), 1):
            if drawing.place != place:
                drawing.place = place
                events.append(PicturePlaced(drawing.picture, place))
        return events

    def _fill(self, running: list[_Drawing]) -> None:
        """Prefill: feed given tokens of one picture at once.

        One window a step, so that the others wait for no more than that; the rest of the prefix
        takes steps as if it were drawn.
        """
        for slot, drawing in enumerate(running):
            given = drawing.request.prefix_rows * self.grid.cols - drawing.position
            if given > 1:
                count = min(given, WINDOW)
                self._runner.fill(slot, drawing.position, count)
                drawing.position += count
                return

    def _advance(self, slot: int, drawing: _Drawing, tokens: int) -> None:
        """Note the rows that a step completed; a picture leaves with its last one."""
        first = drawing.position // self.grid.cols
        drawing.position += tokens
        request, after = drawing.request, drawing.position // self.grid.cols
        for row in range(max(first, request.prefix_rows), min(after, request.stop_row)):
            pending = self._runner.row(slot, row)
            self._rows.append(_Row(drawing, row, pending, self._steps))
        if after >= request.stop_row:
            self._scheduler.remove(drawing)

    def _tell(self) -> Iterator[EngineEvent]:
        """The rows that have arrived from the device, in the order of their steps.

        The oldest is waited for where nothing is left to draw or the device is a whole row behind.
        """
        while self._rows:
            oldest = self._rows[0]
            waited_for = not self._scheduler.running or self._steps - oldest.step > self.grid.cols
            if not (oldest.pending.ready or waited_for):
                return
            self._rows.popleft()
            drawing = oldest.drawing
            if self._drawings.get(drawing.picture) is not drawing:
                continue  # cancelled or failed meanwhile
            ids = oldest.pending.ids()
            if (ids < 0).any():
                self._scheduler.remove(drawing)  # if it still has a slot
                yield self._end(drawing, Ending.FAILED, NOT_FINITE)
                continue
            yield RowDrawn(drawing.picture, oldest.row, ids)
            if oldest.row + 1 == drawing.request.stop_row:
                yield self._end(drawing, Ending.DRAWN)

    def _end(self, drawing: _Drawing, ending: Ending, text: str = "") -> PictureEnded:
        del self._drawings[drawing.picture]
        return PictureEnded(drawing.picture, ending, text)
