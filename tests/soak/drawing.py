"""Pictures drawn through a fault, and what is counted of them: rows lost, doubled, out of order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rowcast.aio import AsyncClient
from rowcast.errors import RowcastError
from rowcast.events import PictureDone, RowsArrived
from rowcast.messages import DoneReason, Rows, decode_server, ids_checksum
from rowcast.transport import Patience

from .scenario import Figures, say

PROMPT = "a red house"
ROWS_TAG = 4
PATIENCE = 120.0  # seconds without a new row, on a machine that does other things as well

Ids = NDArray[np.uint32]


class SoakClient(AsyncClient):
    """The asynchronous client, that comes back within ``first_wait`` seconds and shows its frames.

    ``rows_frames`` are the first row and the number of rows of each, by its stream.
    """

    def __init__(self, url: str, first_wait: float = 0.003, cols: int = 16) -> None:
        super().__init__(url, decode=False, reconnect=PATIENCE)
        self._patience = Patience(PATIENCE, first_wait)
        self._row_bytes = 2 * cols
        self.rows_frames: list[tuple[int, int, int]] = []

    def _take(self, frame: bytes | str) -> list[bytes]:
        if isinstance(frame, bytes) and frame[1:2] == bytes([ROWS_TAG]):
            rows = decode_server(frame)
            assert isinstance(rows, Rows)
            count = len(rows.ids) // self._row_bytes
            self.rows_frames.append((rows.stream, rows.first_row, count))
        return super()._take(frame)


@dataclass
class Tally:
    """Counts over many jobs; a job is a request for one picture or more."""

    pictures: int = 0
    rows: int = 0
    frames: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0  # came before a row that is above them
    wrong: int = 0  # rows of other ids, and pictures of another checksum or end
    failed: int = 0  # jobs that ended with an error

    async def draw(self, client: SoakClient, seed: int, expected: Ids, prompt: str = PROMPT) -> int:
        """Draw pictures whose ids are to be ``expected`` [images, rows, cols], by a client that
        draws nothing besides. Returns the number of rows that this job lacks."""
        images = len(expected)
        client.rows_frames.clear()
        told: list[list[Ids]] = [[] for _ in range(images)]
        try:
            async for event in client.generate(prompt, images, seed=seed):
                if isinstance(event, RowsArrived):
                    told[event.index] += list(event.rows)
                elif isinstance(event, PictureDone):
                    self._end(event, expected[event.index])
        except RowcastError as error:
            self.failed += 1
            say(f"a job failed: {error}")
        self._count_frames(client)
        for rows, all_rows in zip(told, expected, strict=True):
            self.rows += len(rows)
            self.lost += len(all_rows) - len(rows)
            self.wrong += sum(
                not np.array_equal(row, due) for row, due in zip(rows, all_rows, strict=False)
            )
        return sum(len(all_rows) - len(rows) for rows, all_rows in zip(told, expected, strict=True))

    def _end(self, end: PictureDone, expected: Ids) -> None:
        self.pictures += 1
        checksum = ids_checksum(expected.astype("<u2").tobytes())
        self.wrong += (end.picture.checksum, end.reason) != (checksum, DoneReason.COMPLETE)

    def _count_frames(self, client: SoakClient) -> None:
        """Count what came on the wire, over all connections: each row once, in order."""
        due: dict[int, int] = {}
        for stream, first, count in client.rows_frames:
            self.frames += 1
            held = due.get(stream, 0)
            self.doubled += max(0, min(held, first + count) - first)
            self.disordered += max(0, first - held)
            due[stream] = max(held, first + count)

    def tell(self, figures: Figures) -> None:
        """The properties that hold whatever breaks."""
        figures.add("pictures", self.pictures)
        figures.add("rows lost", self.lost, most=0)
        figures.add("rows doubled", self.doubled, most=0)
        figures.add("rows out of order", self.disordered, most=0)
        figures.add("rows, checksums or ends that are wrong", self.wrong, most=0)
        figures.add("jobs that failed", self.failed, most=0)
