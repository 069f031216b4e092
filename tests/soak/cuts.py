"""A link that is cut at every byte of a picture: each row arrives once, in order.

The link is cut after each number of bytes, each way: by RST and by FIN on the connection on which
the picture was asked for, from `start` on, and by one of them on the connection by which the client
comes back from a cut in the middle, from its handshake on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from rowcast_server.models.loading import load
from rowcast_server.network.facts import Grid

from .cutting_link import Cut, CuttingLink
from .drawing import PROMPT, Ids, SoakClient, Tally
from .scenario import Figures, say
from .scripted_server import ids_of_row
from .server_process import SCRIPTED, server_process

SERVER = (*SCRIPTED, "--slots=256", "--seconds-a-row=0.002")
AT_ONCE = 24  # jobs under way
TRIES = 8  # of a cut: where frames travel together, a picture has a few bytes less
SEED = 5
QUICK_STRIDE = 16


Passed = list[list[int]]


@dataclass
class Jobs:
    """Jobs through links that are cut, against the scripted server at ``url``."""

    url: str
    tally: Tally = field(default_factory=Tally)
    cuts: int = 0
    connections: int = 0

    async def draw(self, seed: int, expected: Ids, cuts: Sequence[Cut]) -> tuple[int, Passed]:
        """A job whose link is cut so; returns how many of the cuts were reached, and the bytes
        that passed each way [down, up] on each connection."""
        async with CuttingLink(self.url, cuts) as link, SoakClient(link.url, self.tally) as client:
            link.arm()
            await self.tally.draw(client, seed, expected, PROMPT)
            made, passed = link.made, [list(line.passed) for line in link.lines]
        self.cuts += made
        self.connections += len(passed)
        return made, passed


@cache
def postcards_grid() -> Grid:
    return load("postcard").grid


def expected_ids(seed: int, images: int) -> Ids:
    """The ids [images, rows, cols] that the scripted server draws."""
    grid = postcards_grid()
    ids = [
        [ids_of_row(grid, seed, image, row) for row in range(grid.rows)] for image in range(images)
    ]
    return np.array(ids, np.uint32)


async def at_once(work: Iterable[Callable[[], Awaitable[None]]], count: int) -> None:
    """Do it all, ``count`` at a time, beginning in order."""
    waiting = iter(work)

    async def worker() -> None:
        for each in waiting:
            await each()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(worker())


def run(quick: bool) -> Figures:
    with server_process(*SERVER) as server:
        return asyncio.run(cut_everywhere(server.url, QUICK_STRIDE if quick else 1))


async def cut_everywhere(url: str, stride: int) -> Figures:
    """The figures of cuts at every ``stride``-th byte."""
    expected, jobs = expected_ids(SEED, 1), Jobs(url)
    _, (first,) = await jobs.draw(SEED, expected, ())
    middle = Cut(first[False] // 2)
    _, (_, second) = await jobs.draw(SEED, expected, (middle,))
    missed = {1: 0, 2: 0}  # by connection

    async def job(cuts: tuple[Cut, ...]) -> None:
        for _ in range(TRIES):
            made, _ = await jobs.draw(SEED, expected, cuts)
            if made == len(cuts):
                return
        missed[len(cuts)] += 1

    def sweep(
        before: tuple[Cut, ...], passed: list[int]
    ) -> Iterator[Callable[[], Awaitable[None]]]:
        for upwards in (False, True):
            way = "to" if upwards else "from"
            say(f"  0 to {passed[upwards]} bytes {way} the server, connection {len(before) + 1}")
            for after in range(0, passed[upwards] + 1, stride):
                # Coming back has three times the bytes: RST and FIN take turns there.
                for reset in (True, False) if not before else (after // stride % 2 == 0,):
                    yield partial(job, (*before, Cut(after, upwards, reset)))

    await at_once(sweep((), first), AT_ONCE)
    await at_once(sweep((middle,), second), AT_ONCE)
    figures = Figures()
    for (down, up), which in ((first, "first"), (second, "second")):
        figures.add(f"bytes from the server, {which} connection", down)
        figures.add(f"bytes to the server, {which} connection", up)
    figures.add("cuts", jobs.cuts)
    figures.add("offsets not reached, first connection", missed[1], most=0)
    # Its last bytes are not always there: rows that were drawn meanwhile come in one frame.
    figures.add("offsets not reached, second connection", missed[2])
    jobs.tally.tell(figures)
    return figures
