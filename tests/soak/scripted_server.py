"""`python -m tests.soak.scripted_server`: a real server whose ids are known beforehand.

It takes the options of `rowcast serve`, and `--seconds-a-row` besides. All but the drawing is real:
sockets, gateway, sessions, book of pictures, bridge and engine; the runner computes no network.
The model is postcard's: its grid, tokenizer and files. Rates are those of many clients at one
address. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

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


class ScriptedRunner:
    """A row of every running picture a step, which takes ``seconds_a_row``.

    With ``tell`` the end of each picture is printed: `drawn SEED IMAGE TIME`, by the clock that all
    processes of a machine share (seconds, time.monotonic).
    """

    def __init__(self, grid: Grid, slots: int, seconds_a_row: float, tell: bool = False) -> None:
        self.grid = grid
        self.slots = slots
        self._seconds_a_row = seconds_a_row
        self._tell = tell
        self._requests: dict[int, PictureRequest] = {}

    def open(self, slot: int, request: PictureRequest) -> None:
        self._requests[slot] = request

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        time.sleep(self._seconds_a_row)
        advances = self.grid.cols - positions % self.grid.cols
        if self._tell:
            for slot in np.flatnonzero(positions + advances == self.grid.tokens).tolist():
                request = self._requests[slot]
                print("drawn", request.seed, request.image, time.monotonic(), flush=True)
        return advances

    def fill(self, slot: int, first: int, count: int) -> None:
        pass  # what is drawn does not depend on the ids before it

    def row(self, slot: int, row: int) -> DrawnRow:
        request = self._requests[slot]
        return DrawnRow(ids_of_row(self.grid, request.seed, request.image, row))

    def move(self, source: int, destination: int) -> None:
        self._requests[destination] = self._requests[source]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds-a-row", type=float, default=0.0)
    parser.add_argument("--tell", action="store_true", help="print the end of each picture")
    options, others = parser.parse_known_args(arguments)
    serve_options, config = parse([*RATES, *others])

    def make_runner(model: Transformer, config: ServerConfig, _: Placement) -> ScriptedRunner:
        return ScriptedRunner(model.grid, config.slots, options.seconds_a_row, options.tell)

    asyncio.run(serve(RowcastServer(load(serve_options.model), config, make_runner)))


async def serve(server: RowcastServer) -> None:
    """Serve until standard input ends, as it does with the program that started this one."""
    await server.start()
    print(f"ready {server.ws_url} {server.http_url}", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.close()


if __name__ == "__main__":
    main(sys.argv[1:])
