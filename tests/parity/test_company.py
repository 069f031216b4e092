"""The shipped model, over real sockets: ids do not depend on who else is drawing."""

from __future__ import annotations

import asyncio
import random

import pytest
import rowcast
from rowcast_server.server import RowcastServer

from tests.support.servers import running_server

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1_800)]

TRIALS = 50
JOBS = 8
PROMPTS = (
    "a red house and two pine trees in a meadow at sunset",
    "night over the sea, a boat with a red sail",
    "dawn over the desert, a blue balloon in the middle",
    "a cloudy day over the snow, a pink house on the right",
)


async def ids_of(server: RowcastServer, job: int, delay: float) -> bytes:
    """The ids of one job by a client of its own, started after so many seconds."""
    await asyncio.sleep(delay)
    async with rowcast.connect(server.ws_url, decode=False) as client:
        (done,) = await client.pictures(
            PROMPTS[job % len(PROMPTS)],
            seed=1_000 * job,
            first_image=job % 3,
            temperature=0.7 + 0.1 * job,
        )
    return done.picture.held_bytes


async def test_fifty_trials_among_seven_others_draw_the_same_ids() -> None:
    choose = random.Random(0)
    with running_server("postcard", slots=JOBS, threads=2) as server:
        alone = [await ids_of(server, job, 0.0) for job in range(JOBS)]
        different = 0
        for _ in range(TRIALS):
            delays = [choose.uniform(0, 1.5) for _ in range(JOBS)]
            together = await asyncio.gather(
                *(ids_of(server, job, delay) for job, delay in enumerate(delays))
            )
            different += sum(mine != other for mine, other in zip(together, alone, strict=True))
    print(f"{TRIALS} trials of {JOBS} jobs: {different} pictures differ")
    assert different == 0
