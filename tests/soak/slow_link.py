"""A slow link that loses packets: a picture is there two round trips after its last row is drawn.

50 kbit/s each way, a round trip of 300 ms and 5 % of packets lost, between two network namespaces.
A picture at a time is asked for on one open connection, of a server that draws a row each 20 ms.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from rowcast.errors import ConnectionFailed
from rowcast_bench.transport.link import FAR, NEAR, Link, enter_namespace, why_not

from .cuts import expected_ids
from .drawing import PROMPT, SoakClient, Tally
from .scenario import Figures, percentile, say
from .server_process import SCRIPTED, ServerProcess

PICTURES, QUICK_PICTURES = 100, 15
RATE = 50_000  # bits a second
ROUND_TRIP = 0.3  # seconds
LOSS = 0.05
SECONDS_A_ROW = 0.02
TRIES = 5  # to connect: packets of handshakes are lost as well


def run(quick: bool) -> Figures:
    if reason := why_not():
        return Figures(not_run=reason)
    return draw_slowly(Link(RATE, ROUND_TRIP / 2, LOSS), QUICK_PICTURES if quick else PICTURES)


def draw_slowly(link: Link, count: int) -> Figures:
    """The figures of so many pictures over a link."""
    tally, figures = Tally(), Figures()
    server = ServerProcess(
        *SCRIPTED, f"--host={FAR}", "--open", "--tell", f"--seconds-a-row={SECONDS_A_ROW}"
    )
    # A thread each, which stays in its namespace.
    with ThreadPoolExecutor(1) as near, ThreadPoolExecutor(1) as far:
        ends = near.submit(enter_namespace, NEAR, FAR), far.submit(enter_namespace, FAR, NEAR)
        with link.between(*(end.result() for end in ends)):
            far.submit(server.start).result()
            try:
                done = near.submit(asyncio.run, draw_all(server.url, tally, count)).result()
            finally:
                told = server.kill()
    drawn = {int(line.split()[1]): float(line.split()[3]) for line in told.splitlines()}
    extra = [(done[seed] - drawn[seed]) / (2 * link.delay) for seed in range(count)]
    figures.add("packets", link.packets)
    figures.add("packets lost", link.lost)
    for share, most in ((0.5, 2), (0.9, 4), (1.0, None)):
        words = f"extra time to complete, p{100 * share:.0f}"
        figures.add(words, percentile(extra, share), "round trips", most=most)
    figures.add("rows a frame", tally.rows / tally.frames, least=1.05)
    tally.tell(figures)
    return figures


async def draw_all(url: str, tally: Tally, count: int) -> list[float]:
    """Draw pictures one after another; returns when each was complete."""
    client, done = await connected(url, tally), []
    for seed in range(count):
        await tally.draw(client, seed, expected_ids(seed, 1), PROMPT)
        done.append(time.monotonic())
        if seed % 20 == 19:
            say(f"  picture {seed + 1} of {count}")
    await client.__aexit__()
    return done


async def connected(url: str, tally: Tally) -> SoakClient:
    """An open client."""
    for tries_left in reversed(range(TRIES)):
        client = SoakClient(url, tally)
        try:
            return await client.__aenter__()
        except ConnectionFailed as error:
            say(f"  no connection: {error}")
            if not tries_left:
                raise
    raise AssertionError
