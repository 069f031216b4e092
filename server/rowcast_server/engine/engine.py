"""The step loop: requests in, rows out. Knows neither sockets, nor asyncio, nor torch.

Not thread-safe: one thread owns an engine (see bridge.py).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .request import Ending, EngineEvent, PictureEnded, PicturePlaced, PictureRequest, RowDrawn
from .runner import WINDOW, Runner
from .sampling import draw
from .scheduler import Scheduler


@dataclass(eq=False)
class _Drawing:
    """A picture on its way: its request, its ids so far, the next position to be drawn."""

    picture: int
    request: PictureRequest
    ids: NDArray[np.int64]  # [rows * cols]
    position: int = 0
    place: int | None = None  # as last told: 0 runs, 1 is next

    def last_token(self, start_token: int) -> int:
        return start_token if self.position == 0 else int(self.ids[self.position - 1])


class Engine:
    """Draws many pictures together, each at its own position.

    A picture joins at the next step after a slot is free and leaves with its last token. Its ids
    depend on its request alone.
    """

    def __init__(self, runner: Runner, queue_limit: int = 256) -> None:
        self.grid = runner.grid
        self._runner = runner
        self._scheduler: Scheduler[_Drawing] = Scheduler(runner.slots, queue_limit)
        self._drawings: dict[int, _Drawing] = {}

    @property
    def idle(self) -> bool:
        return not self._drawings

    @property
    def capacity(self) -> int:
        """How many pictures may be drawn or wait at once."""
        return self._scheduler.slots + self._scheduler.queue_limit

    def submit(self, picture: int, request: PictureRequest, client: Hashable = None) -> None:
        """Queue a picture under the caller's number. Raises QueueFull."""
        drawing = _Drawing(picture, request, np.zeros(self.grid.tokens, np.int64))
        if request.prefix is not None:
            drawing.ids[: request.prefix.size] = request.prefix.reshape(-1)
        self._scheduler.put(client, drawing)
        self._drawings[picture] = drawing

    def cancel(self, picture: int) -> list[EngineEvent]:
        """End a picture now, waiting or running; nothing happens to one that has ended."""
        drawing = self._drawings.get(picture)
        if drawing is None:
            return []
        if not self._scheduler.withdraw(drawing):
            self._leave(self._scheduler.running.index(drawing))
        return [self._end(drawing, Ending.CANCELLED)]

    def fail_all(self, text: str) -> list[EngineEvent]:
        """End every picture after a failure of the machine; the engine itself goes on."""
        drawings = list(self._drawings.values())
        self._scheduler.clear()
        return [self._end(drawing, Ending.FAILED, text) for drawing in drawings]

    def step(self) -> list[EngineEvent]:
        """Draw one token of every running picture."""
        events = self._admit()
        running = list(self._scheduler.running)
        if running:
            self._fill(running)
            tokens = np.array([d.last_token(self.grid.start_token) for d in running], np.int64)
            positions = np.array([drawing.position for drawing in running], np.int64)
            conditional, unconditional = self._runner.step(tokens, positions)
            for slot in reversed(range(len(running))):  # from the last: leaving moves the last slot
                events += self._advance(slot, conditional[slot], unconditional[slot])
        return events

    def _admit(self) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        for slot, drawing in self._scheduler.admit():
            self._runner.open(slot, drawing.request.text_ids)
            drawing.place = 0
            events.append(PicturePlaced(drawing.picture, 0))
        for place, drawing in enumerate(self._scheduler.order(), 1):
            if drawing.place != place:
                drawing.place = place
                events.append(PicturePlaced(drawing.picture, place))
        return events

    def _fill(self, running: list[_Drawing]) -> None:
        """Feed given tokens of one picture at once. One window a step, so that others wait for
        no more than that; what is left takes the steps as if it were drawn."""
        for slot, drawing in enumerate(running):
            given = drawing.request.prefix_rows * self.grid.cols - drawing.position
            if given > 1:
                fed = np.concatenate(
                    [[drawing.last_token(self.grid.start_token)], drawing.ids[drawing.position :]]
                )
                count = min(given, WINDOW)
                self._runner.fill(slot, fed[:count], drawing.position)
                drawing.position += count
                return

    def _advance(
        self, slot: int, conditional: NDArray[np.float32], unconditional: NDArray[np.float32]
    ) -> list[EngineEvent]:
        drawing = self._scheduler.running[slot]
        request, position, cols = drawing.request, drawing.position, self.grid.cols
        row, column = divmod(position, cols)
        drawing.position += 1
        if row < request.prefix_rows:
            return []  # a given token: it only fills the cache
        try:
            drawing.ids[position] = draw(
                conditional, unconditional, request.sampling, request.seed, request.image, position
            )
        except FloatingPointError as error:
            self._leave(slot)
            return [self._end(drawing, Ending.FAILED, str(error))]
        if column < cols - 1:
            return []
        events: list[EngineEvent] = [
            RowDrawn(drawing.picture, row, drawing.ids[position + 1 - cols : position + 1].copy())
        ]
        if row + 1 == request.stop_row:
            self._leave(slot)
            events.append(self._end(drawing, Ending.DRAWN))
        return events

    def _leave(self, slot: int) -> None:
        if (move := self._scheduler.release(slot)) is not None:
            self._runner.move(move.source, move.destination)

    def _end(self, drawing: _Drawing, ending: Ending, text: str = "") -> PictureEnded:
        del self._drawings[drawing.picture]
        return PictureEnded(drawing.picture, ending, text)
