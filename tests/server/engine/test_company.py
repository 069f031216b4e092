"""A picture's ids depend on its request alone: 200 trials among others, prefixes, drafting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import psutil
import pytest
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import LoadedModel
from rowcast_server.network.facts import DEFAULT_CACHE, CacheKind, Sampling

from tests.support.engine.company import JOBS, jobs, trials

PROMPTS = ("a red house", "a blue boat at night", "the sun", "moon over the sea")
TRIALS = 200


def make_runner(
    model: LoadedModel, draft_window: int = 1, cache: CacheKind = DEFAULT_CACHE
) -> OnnxRunner:
    slots = JOBS - 2  # so that some wait
    return OnnxRunner(model, slots, threads=1, cache=cache, draft_window=draft_window)


@pytest.mark.parametrize("cache", CacheKind)
@pytest.mark.parametrize("draft_window", [1, 6])
def test_random_company_changes_no_id(
    model: LoadedModel, draft_window: int, cache: CacheKind
) -> None:
    texts = [model.text_ids(prompt) for prompt in PROMPTS]
    requests = jobs(texts, model.grid.rows, seed=1)
    plain = Engine(make_runner(model, cache=cache))
    alone = [draw_whole(plain, request) for request in requests]
    result = trials(make_runner(model, draft_window, cache), requests, alone, TRIALS, latest=24)
    assert result.pictures == TRIALS * (JOBS - 2)
    assert result.different == 0


def test_a_prefix_of_any_number_of_rows_changes_no_id(model: LoadedModel) -> None:
    texts = [model.text_ids(prompt) for prompt in PROMPTS]
    for window in (1, 6):
        engine = Engine(make_runner(model, window))
        for request in jobs(texts, model.grid.rows, seed=2):
            whole = draw_whole(engine, request)
            for rows in range(1, model.grid.rows):
                rest = draw_whole(engine, replace(request, prefix=whole[:rows]))
                assert np.array_equal(rest, whole[rows:])


def test_a_prefix_longer_than_a_window_is_taken_up_by_drafting(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [model.text_ids(prompt) for prompt in PROMPTS]
    request = jobs(texts, model.grid.rows, seed=2)[0]
    whole = draw_whole(Engine(make_runner(model)), request)
    for module in ("runner_onnx", "engine"):
        monkeypatch.setattr(f"rowcast_server.engine.{module}.WINDOW", 3)
    for rows in range(1, model.grid.rows):
        engine = Engine(make_runner(model, 2))
        rest = draw_whole(engine, replace(request, prefix=whole[:rows]))
        assert np.array_equal(rest, whole[rows:])


def test_a_thousand_jobs_leave_nothing_behind(model: LoadedModel) -> None:
    """What a job takes is given back at its end: the engine's lists are empty, memory is flat."""
    engine = Engine(make_runner(model))
    random = np.random.default_rng(0)
    process = psutil.Process()
    settled = 0
    for number in range(1_000):
        text = (0, *random.integers(4, 10, 6).tolist(), 2, *[1] * 56)
        engine.submit(number, PictureRequest(text, number, 0, Sampling(top_k=8), 4))
        while len(engine._drawings) >= JOBS:
            engine.step()
        if number == 300:
            settled = process.memory_info().rss
    while not engine.idle:
        engine.step()
    left = (engine._drawings, engine._rows, engine._scheduler.running)
    assert not any(left)
    assert process.memory_info().rss - settled < 4 << 20
