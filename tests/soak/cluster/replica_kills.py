"""A replica is killed under sixteen pictures: all become what they would have been, after a pause.

`kill -9` of one of two replicas at random moments, again and again. Its pictures are drawn on by
the other, from the rows that came; Ray Serve starts a new one.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from urllib.request import urlopen

from rowcast_server.cluster.directory import REPLICA_SECONDS

from tests.support.clustered.ray_head import RayHead, kill, ray_head
from tests.support.raw_client import until

from ..drawing import Ids, SoakClient, Tally
from ..kills import draw_once, prompt_of
from ..scenario import Figures, percentile, say
from ..server_process import REAL, server_process

KILLS, QUICK_KILLS = 20, 3
JOBS = 16
ROWS = 10  # at most of the first picture, when a replica is killed: none has ended
MOST_PAUSE = 15.0  # seconds
REPLICAS = 2
GATEWAY = (*REAL, f"--replicas={REPLICAS}", "--threads=1", "--slots=16")


class PausedClient(SoakClient):
    """Notes the longest time between two frames while pictures form."""

    heard = 0.0
    longest = 0.0

    @property
    def most_rows(self) -> int:
        return max(self._held.values(), default=0)

    def _take(self, frame: bytes | str) -> list[bytes]:
        now = time.monotonic()
        if self.heard:
            self.longest = max(self.longest, now - self.heard)
        self.heard = now
        return super()._take(frame)


def run(quick: bool) -> Figures:
    with ray_head() as head, server_process(*GATEWAY, f"--cluster={head.address}") as gateway:
        return asyncio.run(kill_replicas(gateway.url, head, QUICK_KILLS if quick else KILLS))


async def kill_replicas(url: str, head: RayHead, kills: int) -> Figures:
    """The figures of so many kills, each under `JOBS` pictures that have begun."""
    chance, tally, pauses = random.Random(2), Tally(), []
    undisturbed = await draw_once(url, JOBS)
    for number in range(kills):
        await asyncio.to_thread(wait_for_replicas, url)
        pauses.append(await one_kill(url, head, tally, undisturbed, chance.randint(1, ROWS)))
        await asyncio.sleep(REPLICA_SECONDS)  # until the one that was killed does not count
        say(f"  kill {number + 1} of {kills}: the longest pause {pauses[-1]:.1f} s")
    figures = Figures()
    figures.add("kills", kills)
    tally.tell(figures)
    figures.add("longest time without a row, median", percentile(pauses, 0.5), "s")
    figures.add("longest time without a row", max(pauses), "s", most=MOST_PAUSE)
    return figures


def wait_for_replicas(url: str) -> None:
    """Until a gateway knows of all of them."""
    while True:
        with urlopen(f"http{url.removeprefix('ws')}/pictures") as answer:
            if len(json.load(answer).get("replicas", [])) >= REPLICAS:
                return
        time.sleep(0.1)


async def one_kill(
    url: str, head: RayHead, tally: Tally, undisturbed: list[Ids], rows: int
) -> float:
    """Kill a replica under all pictures, once the first of them has so many rows; the longest
    pause of any, in seconds."""
    clients = [PausedClient(url, tally) for _ in undisturbed]
    for client in clients:
        await client.__aenter__()

    async def draw(number: int) -> None:
        expected = undisturbed[number][None]
        await tally.draw(clients[number], number, expected, prompt_of(number))

    async with asyncio.TaskGroup() as group:
        drawing = [group.create_task(draw(number)) for number in range(len(clients))]
        await until(lambda: all(client.session.active for client in clients))
        await until(lambda: max(client.most_rows for client in clients) >= rows)
        running = sum(not task.done() for task in drawing)
        assert running == len(drawing), f"only {running} pictures were under way"
        kill(head.replicas[0])  # the older one, which draws half of them
    for client in clients:
        await client.__aexit__()
    return max(client.longest for client in clients)
