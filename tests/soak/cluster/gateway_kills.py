"""A gateway is killed: its viewers go on at the other, and so do those who watch there already.

Two gateways of one cluster. Pictures are asked for at one, and each is watched at the other. `kill
-9` of the first at random moments: its clients come back at the other, which draws on what it
left. Then the roles change.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, ExitStack

import numpy as np
from rowcast.errors import RowcastError
from rowcast.events import PictureDone
from rowcast.messages import view_key

from tests.support.clustered.ray_head import ray_head
from tests.support.proxy import Proxy, proxy
from tests.support.raw_client import until

from ..drawing import Ids, Tally
from ..kills import draw_once, prompt_of
from ..scenario import Figures, percentile, say
from ..server_process import REAL, ServerProcess, server_process
from .replica_kills import MOST_PAUSE, PausedClient

KILLS, QUICK_KILLS = 10, 2
JOBS = 8
GATEWAY = (*REAL, "--replicas=2", "--threads=1", "--slots=16")


def run(quick: bool) -> Figures:
    with ExitStack() as stack:
        head = stack.enter_context(ray_head())
        words = (*GATEWAY, f"--cluster={head.address}")
        gateways = [stack.enter_context(server_process(*words)) for _ in range(2)]
        link = stack.enter_context(proxy(gateways[0].url))
        return asyncio.run(kill_gateways(gateways, link, QUICK_KILLS if quick else KILLS))


async def kill_gateways(gateways: list[ServerProcess], link: Proxy, kills: int) -> Figures:
    """The figures of so many kills, each under `JOBS` pictures, which are watched elsewhere too."""
    chance, tally, watched = random.Random(3), Tally(), Tally()
    pauses: list[float] = []
    undisturbed = await draw_once(link.url, JOBS)
    for number in range(kills):
        one, other = (gateways[(number + each) % 2] for each in range(2))
        link.target = one.url
        async with AsyncExitStack() as stack:
            owners = [PausedClient(link.url, tally, first_wait=0.1) for _ in undisturbed]
            viewers = [PausedClient(other.url, watched) for _ in undisturbed]
            for client in (*owners, *viewers):
                await stack.enter_async_context(client)
            async with asyncio.TaskGroup() as group:
                for job, client in enumerate(owners):
                    group.create_task(
                        tally.draw(client, job, undisturbed[job][None], prompt_of(job))
                    )
                await all_begun(owners)
                await asyncio.sleep(0.2)  # the directory knows of them
                for owner, viewer, ids in zip(owners, viewers, undisturbed, strict=True):
                    key = view_key(owner.session.active[0].key)
                    group.create_task(watch(viewer, key, ids, watched))
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                link.target = other.url
                one.kill()
        pauses.append(max(client.longest for client in (*owners, *viewers)))
        say(f"  kill {number + 1} of {kills}: the longest pause {pauses[-1]:.1f} s")
        await asyncio.to_thread(one.start)
    figures = Figures()
    figures.add("kills", kills)
    tally.tell(figures)
    figures.add("pictures watched at the other gateway", watched.pictures)
    figures.add("of them with rows that are wrong", watched.wrong, most=0)
    figures.add("of them not watched to their end", watched.failed, most=0)
    figures.add("longest time without a row, median", percentile(pauses, 0.5), "s")
    figures.add("longest time without a row", max(pauses), "s", most=MOST_PAUSE)
    return figures


async def all_begun(clients: list[PausedClient]) -> None:
    """Until each has asked for its picture."""
    await until(lambda: all(client.session.active for client in clients))


async def watch(client: PausedClient, key: bytes, ids: Ids, tally: Tally) -> None:
    """Watch a picture to its end."""
    try:
        async for event in client.watch(key):
            if isinstance(event, PictureDone):
                tally.pictures += 1
                tally.wrong += not np.array_equal(event.picture.ids, ids)
    except RowcastError as error:
        tally.failed += 1
        say(f"  a viewer failed: {error}")
