"""The shipped model, over real sockets and in its engine: ids do not depend on who else draws."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rowcast
from rich.progress import track
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import DEFAULT_CACHE, CacheKind
from rowcast_server.server import RowcastServer

from tests.support.engine import company
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


ENGINE_TRIALS = 200
DRAFT_WINDOW = 8


def make_runner(
    model: LoadedModel,
    draft_window: int = 1,
    dtype: str = "float32",
    cache: CacheKind = DEFAULT_CACHE,
) -> OnnxRunner:
    return OnnxRunner(model, company.JOBS - 2, 2, dtype, cache, draft_window)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load("postcard")


@pytest.fixture(scope="module")
def requests(model: LoadedModel) -> list[PictureRequest]:
    texts = [model.text_ids(prompt) for prompt in PROMPTS]
    return company.jobs(texts, model.grid.rows, seed=3)


@pytest.mark.parametrize(
    ("name", "options", "bitwise"),
    [
        ("float32", {}, True),
        ("float32, states", {"cache": CacheKind.STATES}, True),
        ("float32, drafting", {"draft_window": DRAFT_WINDOW}, True),
        ("int8", {"dtype": "int8"}, False),
    ],
)
def test_two_hundred_trials_in_the_engine(
    model: LoadedModel,
    requests: list[PictureRequest],
    name: str,
    options: dict[str, Any],
    bitwise: bool,
) -> None:
    plain = Engine(make_runner(model, **options | {"draft_window": 1}))
    alone = [draw_whole(plain, request) for request in requests]
    count = ENGINE_TRIALS if bitwise else ENGINE_TRIALS // 4
    steps = iter(track(range(count), name))
    runner = make_runner(model, **options)
    result = company.trials(runner, requests, alone, count, 128, lambda: next(steps, None))
    share = result.different / result.pictures
    differ = f"{result.different} of {result.pictures} pictures differ ({share:.2%})"
    print(f"{name}: {count} trials, {differ}")
    assert not bitwise or result.different == 0
    assert share < 0.05


@pytest.mark.parametrize("draft_window", [1, DRAFT_WINDOW])
def test_a_prefix_cut_at_each_row_changes_no_id(
    model: LoadedModel, requests: list[PictureRequest], draft_window: int
) -> None:
    engine = Engine(make_runner(model, draft_window))
    different = 0
    for request in requests[:4]:
        whole = draw_whole(engine, request)
        for rows in range(1, model.grid.rows):
            rest = draw_whole(engine, replace(request, prefix=whole[:rows]))
            different += not np.array_equal(rest, whole[rows:])
    print(f"prefixes at each of 15 rows, draft window {draft_window}: {different} differ")
    assert different == 0
