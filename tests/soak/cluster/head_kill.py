"""The head of the cluster is killed, and all of it: clients draw on once it is back.

`kill -9` of Ray's head with the replicas, under pictures. Their gateway says that it has lost its
cluster and ends, as its service's supervisor expects; head and gateway are started again, and the
clients bring the rows that they hold.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from tests.support.clustered.ray_head import RayHead, ray_head
from tests.support.raw_client import until

from ..drawing import SoakClient, Tally
from ..kills import draw_once, prompt_of
from ..scenario import Figures, say
from ..server_process import REAL, ServerProcess, server_process

JOBS = 8
GATEWAY = (*REAL, "--replicas=2", "--threads=1", "--slots=16")
MOST_ENDING = 90.0  # seconds until a gateway without its cluster has ended


def run(quick: bool) -> Figures:
    with ray_head() as head, server_process(*GATEWAY, f"--cluster={head.address}") as gateway:
        return asyncio.run(kill_head(head, gateway))


async def kill_head(head: RayHead, gateway: ServerProcess) -> Figures:
    """The figures of one kill under `JOBS` pictures."""
    tally, figures = Tally(), Figures()
    undisturbed = await draw_once(gateway.url, JOBS)
    async with AsyncExitStack() as stack:
        clients = [SoakClient(gateway.url, tally, first_wait=0.2) for _ in undisturbed]
        for client in clients:
            await stack.enter_async_context(client)
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(
                    tally.draw(client, number, undisturbed[number][None], prompt_of(number))
                )
            await until(lambda: tally.frames >= JOBS)
            head.kill()
            killed = time.monotonic()
            await asyncio.to_thread(gateway.process.wait, MOST_ENDING)
            ended = time.monotonic() - killed
            say(f"  the gateway ended with {gateway.process.returncode} after {ended:.1f} s")
            figures.add("the gateway ended after", ended, "s", most=MOST_ENDING)
            await asyncio.to_thread(head.start)
            await asyncio.to_thread(gateway.start)
            figures.add("all is back after", time.monotonic() - killed, "s")
    tally.tell(figures)
    return figures
