"""`python -m tests.soak.scripted_server`: a real server whose ids are known beforehand.

It takes the options of `rowcast serve`, and `--seconds-a-row` besides. All but the drawing is real:
sockets, gateway, sessions, book of pictures, bridge and engine; the runner computes no network.
The model is postcard's: its tokenizer, files and grid, unless `--grid` gives another. Rates are
those of many clients at one address. It ends with its standard input; each line of that before is
answered by what the server has at the moment, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rowcast_server.config import ServerConfig
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner import DrawnRow
from rowcast_server.models.loading import Transformer, load
from rowcast_server.network.facts import Grid
from rowcast_server.placement import Placement
from rowcast_server.serve_options import parse
from rowcast_server.server import RowcastServer

RATES = [
    "--queue=10000",
    "--address-connections=100000",
    "--client-pictures=100000",
    "--starts-per-minute=1000000",
    "--messages-per-minute=1000000",
    "--failures-per-minute=1000000",
]


def ids_of_row(grid: Grid, seed: int, image: int, row: int) -> NDArray[np.int64]:
    """The ids [cols] that are drawn, whatever the prompt: no two rows of a test are alike."""
    numbers = np.arange(grid.cols) + grid.cols * (row + grid.rows * (image + 1_000 * seed))
    return (numbers * 7_919 + 13) % grid.codebook_size


STAMP_DIGITS = 5  # of a codebook of 2,401: years of microseconds


def stamp(grid: Grid, ids: NDArray[np.int64]) -> None:
    """Have the ids begin with the time, in microseconds, a digit of the codebook's base each."""
    microseconds = time.monotonic_ns() // 1_000
    for digit in range(STAMP_DIGITS):
        microseconds, ids[digit] = divmod(microseconds, grid.codebook_size)


def seconds_of(grid: Grid, ids: NDArray[np.uint16]) -> float:
    """The time of `stamp`, in seconds of time.monotonic."""
    microseconds = 0
    for digit in ids[STAMP_DIGITS - 1 :: -1].tolist():
        microseconds = microseconds * grid.codebook_size + digit
    return microseconds / 1e6


class ScriptedRunner:
    """A row of every running picture a step, which takes ``seconds_a_row``; with ``steps_a_row``
    a part of each, in that part of the time, as a real one does. The first row of a picture is
    shorter then, by its slot, so that so many pictures have their rows at different times, as if
    they had been begun at different times.

    With ``stamped`` the ids of a row begin with the time at which it was drawn.

    With ``tell`` the end of each picture is printed: `drawn SEED IMAGE TIME`, by the clock that all
    processes of a machine share (seconds, time.monotonic).
    """

    def __init__(
        self,
        grid: Grid,
        slots: int,
        seconds_a_row: float,
        tell: bool = False,
        stamped: bool = False,
        steps_a_row: int = 1,
    ) -> None:
        self.grid = grid
        self.slots = slots
        self._steps_a_row = steps_a_row
        self._steps = 0
        self._seconds = seconds_a_row / steps_a_row
        self._tokens = grid.cols // steps_a_row
        self._due = 0.0
        self._tell = tell
        self._stamped = stamped
        self._requests: dict[int, PictureRequest] = {}

    def open(self, slot: int, request: PictureRequest) -> None:
        self._requests[slot] = request

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        now = time.monotonic()
        self._due = max(self._due + self._seconds, now)  # what else takes time is made up for
        time.sleep(self._due - now)
        advances: NDArray[np.int64] = np.minimum(
            self._tokens, self.grid.cols - positions % self.grid.cols
        )
        slots = np.arange(len(positions))
        after = (slots - self._steps) % self._steps_a_row  # steps after this one, for a first row
        advances = np.where(positions == 0, self.grid.cols - self._tokens * after, advances)
        self._steps += 1
        if self._tell:
            for slot in np.flatnonzero(positions + advances == self.grid.tokens).tolist():
                request = self._requests[slot]
                print("drawn", request.seed, request.image, time.monotonic(), flush=True)
        return advances

    def fill(self, slot: int, first: int, count: int) -> None:
        pass  # what is drawn does not depend on the ids before it

    def row(self, slot: int, row: int) -> DrawnRow:
        request = self._requests[slot]
        ids = ids_of_row(self.grid, request.seed, request.image, row)
        if self._stamped:
            stamp(self.grid, ids)
        return DrawnRow(ids)

    def move(self, source: int, destination: int) -> None:
        self._requests[destination] = self._requests[source]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds-a-row", type=float, default=0.0)
    parser.add_argument("--tell", action="store_true", help="print the end of each picture")
    parser.add_argument("--stamp", action="store_true", help="rows begin with their time")
    parser.add_argument("--steps-a-row", type=int, default=1)
    parser.add_argument("--grid", nargs=2, type=int, metavar=("ROWS", "COLS"))
    options, others = parser.parse_known_args(arguments)
    serve_options, config = parse([*RATES, *others])

    def make_runner(model: Transformer, config: ServerConfig, _: Placement) -> ScriptedRunner:
        return ScriptedRunner(
            model.grid,
            config.slots,
            options.seconds_a_row,
            options.tell,
            options.stamp,
            options.steps_a_row,
        )

    model = load(serve_options.model)
    if options.grid:
        rows, cols = options.grid
        model = replace(model, grid=replace(model.grid, rows=rows, cols=cols))
    asyncio.run(serve(RowcastServer(model, config, make_runner)))


async def serve(server: RowcastServer) -> None:
    """Serve until standard input ends, as it does with the program that started this one."""
    await server.start()
    print(f"ready {server.ws_url} {server.http_url}", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(held_by(server)), flush=True)
    await server.close()


def held_by(server: RowcastServer) -> dict[str, float]:
    """Numbers of what could leak, this question's own task not counted."""
    gc.collect()
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return {
        "tasks": len(asyncio.all_tasks()) - 1,
        "timers": sum(not timer.cancelled() for timer in timers),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # of the listing
        "book_entries": len(server._book._by_name) + len(server._book._by_number),
        "clients_with_pictures": len(server._book._taken) + len(server._book._waiting),
        **server._load(),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
