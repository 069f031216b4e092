"""Pictures drawn through a fault, and what is counted of them: rows lost, doubled, out of order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rowcast.aio import AsyncClient
from rowcast.errors import RowcastError
from rowcast.events import PictureDone, RowsArrived
from rowcast.generation import Slot
from rowcast.messages import DoneReason, Rows, decode_server, ids_checksum
from rowcast.transport import Patience

from .scenario import Figures, say

PROMPT = "a red house"
ROWS_TAG = bytes([4])
PATIENCE = 900.0  # seconds without a new row: what waits in a queue that is killed has none

Ids = NDArray[np.uint32]


@dataclass
class Tally:
    """Counts over many jobs; a job is a request for one picture or more."""

    jobs: int = 0
    pictures: int = 0  # that came to their end
    rows: int = 0
    frames: int = 0  # with rows
    lost: int = 0
    doubled: int = 0
    disordered: int = 0  # came before a row that is above them
    wrong: int = 0  # rows of other ids, and pictures of another checksum or end
    failed: int = 0  # jobs that ended with an error

    async def draw(self, client: SoakClient, seed: int, expected: Ids, prompt: str) -> None:
        """Draw pictures whose ids are to be ``expected`` [images, rows, cols]."""
        images = len(expected)
        told: list[list[Ids]] = [[] for _ in range(images)]
        try:
            async for event in client.generate(prompt, images, seed=seed):
                if isinstance(event, RowsArrived):
                    told[event.index] += list(event.rows)
                elif isinstance(event, PictureDone):
                    self.pictures += 1
                    checksum = ids_checksum(expected[event.index].astype("<u2").tobytes())
                    end = event.picture.checksum, event.reason
                    self.wrong += end != (checksum, DoneReason.COMPLETE)
        except RowcastError as error:
            self.failed += 1
            say(f"  a job failed: {error}")
        self.jobs += 1
        for rows, due in zip(told, expected, strict=True):
            self.rows += len(rows)
            self.lost += len(due) - len(rows)
            self.wrong += sum(not np.array_equal(*pair) for pair in zip(rows, due, strict=False))

    def tell(self, figures: Figures) -> None:
        """The properties that hold whatever breaks."""
        figures.add("jobs", self.jobs)
        figures.add("pictures", self.pictures)
        figures.add("rows lost", self.lost, most=0)
        figures.add("rows doubled", self.doubled, most=0)
        figures.add("rows out of order", self.disordered, most=0)
        figures.add("rows, checksums or ends that are wrong", self.wrong, most=0)
        figures.add("jobs that failed", self.failed, most=0)


class SoakClient(AsyncClient):
    """The asynchronous client, that comes back within ``first_wait`` seconds, and counts what is
    on the wire: each row of a picture once, in order, over all its connections."""

    def __init__(self, url: str, tally: Tally, first_wait: float = 0.003) -> None:
        super().__init__(url, decode=False, reconnect=PATIENCE)
        self._patience = Patience(PATIENCE, first_wait)
        self._tally = tally
        self._held: dict[Slot, int] = {}

    def _take(self, frame: bytes | str) -> list[bytes]:
        if isinstance(frame, bytes) and frame[1:2] == ROWS_TAG:
            rows = decode_server(frame)
            assert isinstance(rows, Rows)
            slot = self.session._slots[rows.stream]
            held = self._held.get(slot, 0)
            after = rows.first_row + len(rows.ids) // (2 * slot.picture.recipe.cols)
            self._held[slot] = max(held, after)
            self._tally.frames += 1
            self._tally.doubled += max(0, min(held, after) - rows.first_row)
            self._tally.disordered += max(0, rows.first_row - held)
        return super()._take(frame)
