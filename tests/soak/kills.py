"""A server that is killed while it draws: each picture becomes what it would have been.

`kill -9` at random moments, and a new server at the same port. It knows nothing of the pictures;
the clients bring the rows that they hold.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

import numpy as np

from .cuts import at_once
from .drawing import Ids, SoakClient, Tally
from .scenario import Figures, say
from .server_process import REAL, ServerProcess, server_process

KILLS, QUICK_KILLS = 20, 3
JOBS = 20  # under way at any time, on 16 slots
CLIENTS = 5
LONGEST = 10.0  # seconds from a server that takes jobs to its kill
PROMPTS = (
    "the meadow on a cloudy day, a red house on the left, two palm trees",
    "a clear night over the hills, a green hot air balloon in the middle",
    "sunset over the mountains, three palm trees",
    "clear dawn over the sea, a sailing boat with a yellow sail",
)


def run(quick: bool) -> Figures:
    with server_process(*REAL, "--slots=16") as server:
        return asyncio.run(kill_often(server, QUICK_KILLS if quick else KILLS, JOBS))


async def kill_often(server: ServerProcess, kills: int, count: int) -> Figures:
    """The figures of so many kills under ``count`` jobs."""
    begun = time.monotonic()
    undisturbed = await draw_once(server.url, count)
    longest = time.monotonic() - begun
    say(f"  {count} pictures take {longest:.1f} s undisturbed")
    tally, killed, chance = Tally(), asyncio.Event(), random.Random(1)
    clients = [SoakClient(server.url, tally, first_wait=0.05) for _ in range(CLIENTS)]

    async def keep_drawing(number: int) -> None:
        while not killed.is_set():
            client = clients[number % len(clients)]
            await tally.draw(client, number, undisturbed[number][None], prompt_of(number))

    async with asyncio.TaskGroup() as group:
        for client in clients:
            await client.__aenter__()
        for number in range(count):
            group.create_task(keep_drawing(number))
        for kill in range(kills):
            moment = chance.uniform(0.05, min(longest, LONGEST))
            await asyncio.sleep(moment)
            say(f"  kill {kill + 1} of {kills}, {moment:.1f} s after the server was ready")
            server.kill()
            await asyncio.to_thread(server.start)
        killed.set()
    for client in clients:
        await client.__aexit__()
    figures = Figures()
    figures.add("kills", kills)
    tally.tell(figures)
    return figures


def prompt_of(number: int) -> str:
    return PROMPTS[number % len(PROMPTS)]


async def draw_once(url: str, count: int) -> list[Ids]:
    """The pictures [rows, cols] of the numbers below ``count``, each of its own seed."""
    pictures: dict[int, Ids] = {}
    async with SoakClient(url, Tally()) as client:

        async def draw(number: int) -> None:
            (end,) = await client.pictures(prompt_of(number), seed=number)
            pictures[number] = end.picture.ids

        await at_once((partial(draw, number) for number in range(count)), count)
    assert len({ids.tobytes() for ids in pictures.values()}) == count
    return [np.array(pictures[number]) for number in range(count)]
