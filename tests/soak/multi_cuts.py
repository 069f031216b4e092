"""Links that are cut again and again while four pictures form: each row arrives once, in order.

Each job is cut two to six times after random numbers of bytes, in handshakes too, both ways, by RST
and by FIN.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

from .cuts import AT_ONCE, SERVER, Jobs, at_once, expected_ids
from .cutting_link import Cut
from .scenario import Figures, say
from .server_process import server_process

JOBS, QUICK_JOBS = 2_000, 150
IMAGES = 4
MOST_CUTS = 6
# [down, up] on the first connection and on those after it: about what they need for all of it.
MOST_BYTES = ((2_700, 52), (3_500, 1_100))


def run(quick: bool) -> Figures:
    with server_process(*SERVER) as server:
        return asyncio.run(cut_often(server.url, QUICK_JOBS if quick else JOBS))


async def cut_often(url: str, count: int) -> Figures:
    """The figures of so many jobs; the same cuts each time."""
    jobs = Jobs(url)

    async def job(number: int) -> None:
        if number % 250 == 0:
            say(f"  job {number} of {count}")
        await jobs.draw(number, expected_ids(number, IMAGES), list(random_cuts(number)))

    await at_once((partial(job, number) for number in range(count)), AT_ONCE)
    figures = Figures()
    figures.add("cuts", jobs.cuts, least=2 * count)
    figures.add("connections", jobs.connections)
    jobs.tally.tell(figures)
    return figures


def random_cuts(number: int) -> list[Cut]:
    """The cuts of a job."""
    chance = random.Random(number)
    cuts = []
    for which in range(chance.randint(2, MOST_CUTS)):
        upwards = chance.random() < 0.5
        after = chance.randrange(MOST_BYTES[which > 0][upwards])
        cuts.append(Cut(after, upwards, chance.random() < 0.5))
    return cuts
