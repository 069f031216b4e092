"""A picture's ids depend on its request alone: trials among others, prefixes, drafting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import Transformer
from rowcast_server.network.facts import Sampling

from tests.support.engine.company import JOBS, jobs, trials
from tests.support.engine.drawing import draw_all, text_request

PROMPTS = ("a red house", "a blue boat at night", "the sun", "moon over the sea " * 5)
TRIALS = 50


def requests(model: Transformer, seed: int) -> list[PictureRequest]:
    return jobs([model.text_ids(prompt) for prompt in PROMPTS], model.grid.rows, seed)


@pytest.fixture(scope="module")
def plain(model: Transformer) -> Engine:
    return Engine(OnnxRunner(model, JOBS - 2, threads=1))


@pytest.mark.parametrize("draft_window", [1, 6])
def test_random_company_changes_no_id(model: Transformer, plain: Engine, draft_window: int) -> None:
    asked = requests(model, seed=1)
    alone = [draw_whole(plain, request) for request in asked]
    runner = OnnxRunner(model, JOBS - 2, threads=1, draft_window=draft_window)
    result = trials(runner, asked, alone, TRIALS, latest=60)
    assert result.pictures == TRIALS * (JOBS - 2)
    assert result.different == 0


def test_a_prefix_of_any_number_of_rows_changes_no_id(model: Transformer, plain: Engine) -> None:
    request = requests(model, seed=2)[0]
    whole = draw_whole(plain, request)
    drafting = Engine(OnnxRunner(model, 1, threads=1, draft_window=4))
    for rows in range(1, model.grid.rows):
        for engine in (plain, drafting):
            rest = draw_whole(engine, replace(request, prefix=whole[:rows]))
            assert np.array_equal(rest, whole[rows:])


def test_a_picture_stops_after_the_row_that_was_asked_for(
    model: Transformer, plain: Engine
) -> None:
    request = requests(model, seed=3)[1]
    whole = draw_whole(plain, request)
    assert np.array_equal(draw_whole(plain, replace(request, stop_row=3)), whole[:3])


def test_one_reading_of_a_prompt_serves_its_pictures(
    model: Transformer,
) -> None:
    """And one of no text all prompts of its length."""
    runner = OnnxRunner(model, 4, threads=1)
    texts = [model.text_ids(prompt) for prompt in ("a boat", "a boat", "a moon", "a large boat")]
    texts[2] = (*texts[0][:5], texts[0][5] + 1, *texts[0][6:])  # of the same length
    assert len(texts[3]) != len(texts[0])
    for slot, text in enumerate(texts):
        runner.open(slot, text_request(text))
    reads = runner.held._remembered.cache_info()  # type: ignore[attr-defined]
    assert reads.misses == 3 + 2  # three prompts, two lengths
    assert reads.hits == 3


def test_a_shorter_prompt_after_a_longer_one_is_not_disturbed_by_it(model: Transformer) -> None:
    runner = OnnxRunner(model, 1, threads=1)
    first, start = np.array([0]), np.array([model.grid.start_token])
    runner.open(0, text_request(model.text_ids("the sea")))
    expected = runner.logits(start, first).tobytes()
    runner.open(0, text_request(model.text_ids("a red house and a blue boat " * 3)))
    assert runner.logits(start, first).tobytes() != expected
    runner.open(0, text_request(model.text_ids("the sea")))
    assert runner.logits(start, first).tobytes() == expected


@pytest.mark.parametrize(("dtype", "allowed"), [("int8", 0.1), ("int4", 1.0)])
def test_few_bits_draw_nearly_the_same_logits_in_any_company(
    model: Transformer, dtype: str, allowed: float
) -> None:
    exact, small = (OnnxRunner(model, JOBS, threads=1, dtype=kind) for kind in ("float32", dtype))
    first, start = np.zeros(JOBS, np.int64), np.full(JOBS, model.grid.start_token)
    for runner in (exact, small):
        for slot in range(JOBS):
            runner.open(slot, text_request(model.text_ids("the sea"), guidance=1.0))
    together, near = small.logits(start, first).copy(), exact.logits(start, first)
    assert np.abs(together - near).std() < allowed * near.std()
    assert small.logits(start[:1], first[:1])[0].tobytes() == together[0].tobytes()


def test_drafting_ends_where_another_joins(model: Transformer, plain: Engine) -> None:
    first, second = requests(model, seed=4)[:2]
    drafting = Engine(OnnxRunner(model, 2, threads=1, draft_window=5))
    together = draw_all(drafting, {0: (0, first), 1: (3, second)})
    assert np.array_equal(together[0], draw_whole(plain, first))
    assert np.array_equal(together[1], draw_whole(plain, second))


def test_top_k_of_one_needs_no_seed(model: Transformer, plain: Engine) -> None:
    text = model.text_ids("the sea")
    sampling = Sampling(top_k=1, guidance=5.0)
    drawn = [
        draw_whole(plain, PictureRequest(text, seed, 0, sampling, model.grid.rows))
        for seed in (0, 1)
    ]
    assert np.array_equal(drawn[0], drawn[1])
