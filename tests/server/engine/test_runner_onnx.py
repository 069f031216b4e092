"""The CPU runner against the torch reference, and the bits of a picture in company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import EngineEvent, PictureEnded, PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import CacheKind

from tests.support.engine.drawing import (
    JOBS,
    draw_all,
    ids_alone,
    reference_logits,
    requests,
    text_request,
)
from tests.support.tiny_model import tiny_model

TRIALS = 50


@pytest.fixture(scope="module", params=list(CacheKind))
def cache(request: pytest.FixtureRequest) -> CacheKind:
    kind: CacheKind = request.param
    return kind


@pytest.fixture(scope="module")
def runner(model: LoadedModel, cache: CacheKind) -> OnnxRunner:
    return make_runner(model, cache)


def make_runner(
    model: LoadedModel, cache: CacheKind, slots: int = JOBS, **options: Any
) -> OnnxRunner:
    return OnnxRunner(model, slots, threads=2, cache=cache, **options)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 16.0])
def test_every_step_agrees_with_the_torch_reference(
    model: LoadedModel, runner: OnnxRunner, guidance: float
) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    drawn = random.integers(0, model.grid.codebook_size, model.grid.tokens - 1)
    tokens = np.concatenate([[model.grid.start_token], drawn])
    prompt = model.text_ids("a red house and a blue boat")
    expected = reference_logits(model, prompt, tokens, guidance)
    runner.open(0, text_request(prompt, guidance=guidance))
    worst = 0.0
    for position, token in enumerate(tokens):
        logits = runner.logits(np.array([token]), np.array([position]))
        worst = max(worst, float(np.abs(logits[0] - expected[position]).max()))
    assert worst < 1e-4 * expected.std()


def test_both_kinds_of_cache_draw_the_same_pictures(model: LoadedModel) -> None:
    """Two sums in another order part where two codes are nearly as good: in none of these."""
    by_states, by_keys = (make_runner(model, cache) for cache in CacheKind)
    for job in requests(model):
        assert (ids_alone(by_states, job) == ids_alone(by_keys, job)).all()


def test_ids_are_the_same_alone_and_among_seven_others(
    model: LoadedModel, runner: OnnxRunner
) -> None:
    jobs = requests(model)
    alone = [ids_alone(runner, job) for job in jobs]
    choose = np.random.default_rng(2)
    different = 0
    for _ in range(TRIALS):
        starts = {n: (int(choose.integers(0, 20)), job) for n, job in enumerate(jobs)}
        together = draw_all(Engine(runner), starts)
        different += sum(not (together[n] == alone[n]).all() for n in range(JOBS))
    assert different == 0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_prefix_continues_to_the_same_ids(
    model: LoadedModel, runner: OnnxRunner, rows: int
) -> None:
    job = requests(model)[4]
    whole = ids_alone(runner, job)
    rest = ids_alone(
        runner,
        PictureRequest(job.text_ids, job.seed, job.image, job.sampling, job.stop_row, whole[:rows]),
    )
    assert (rest == whole[rows:]).all()


@pytest.mark.parametrize("window", [2, 5, 16])
def test_drafting_changes_no_id(
    model: LoadedModel, cache: CacheKind, runner: OnnxRunner, window: int
) -> None:
    drafting = make_runner(model, cache, slots=2, draft_window=window)
    for job in requests(model):
        alone = ids_alone(runner, job)
        assert (ids_alone(drafting, job) == alone).all()
        continued = replace(job, prefix=alone[:2])
        assert (ids_alone(drafting, continued) == alone[2:]).all()
    first, second = requests(model)[:2]  # one joins the other: drafting ends, and begins again
    together = draw_all(Engine(drafting), {0: (0, first), 1: (1, second)})
    assert (together[0] == ids_alone(runner, first)).all()
    assert (together[1] == ids_alone(runner, second)).all()


def test_int8_weights_draw_nearly_the_same_logits_in_any_company(
    model: LoadedModel, cache: CacheKind, runner: OnnxRunner
) -> None:
    small = make_runner(model, cache, dtype="int8")
    for each in (runner, small):
        for slot in range(JOBS):
            each.open(slot, text_request(model.text_ids("a red house"), guidance=1.0))
    first, start = np.zeros(JOBS, np.int64), np.full(JOBS, model.grid.start_token)
    exact, together = (each.logits(start, first) for each in (runner, small))
    assert np.abs(together - exact).max() < 0.1 * exact.std()
    alone = small.logits(start[:1], first[:1])
    assert alone[0].tobytes() == together[0].tobytes()


@pytest.mark.parametrize("sizes", [(15,), (1, 2, 3, 9), (4, 11), (14, 1)])
def test_a_window_of_given_tokens_leaves_the_bits_of_single_steps(
    model: LoadedModel, cache: CacheKind, sizes: tuple[int, ...]
) -> None:
    drawn = np.random.default_rng(3).integers(0, model.grid.codebook_size, 15)
    tokens = np.concatenate([[model.grid.start_token], drawn])
    stepped, filled = make_runner(model, cache, slots=1), make_runner(model, cache, slots=3)
    stepped.open(0, text_request(model.text_ids("a red house")))
    for position in range(15):
        stepped.logits(tokens[position : position + 1], np.array([position]))
    for slot in range(3):
        prompt = model.text_ids("a red house" if slot == 1 else "the sea")
        filled.open(slot, text_request(prompt, drawn))
    first = 0
    for size in sizes:
        filled.fill(1, first, size)
        first += size
    expected = stepped.logits(tokens[15:], np.array([15]))
    actual = filled.logits(np.array([1, tokens[15], 1]), np.array([0, 15, 0]))
    assert actual[1].tobytes() == expected[0].tobytes()


def test_logits_have_the_same_bits_in_any_company(model: LoadedModel, runner: OnnxRunner) -> None:
    for slot in range(JOBS):
        prompt = model.text_ids("a red house" if slot == 0 else "the sea at night")
        runner.open(slot, text_request(prompt))
    seen = set()
    for company in range(1, JOBS + 1):
        tokens, positions = np.full(company, 3), np.zeros(company, np.int64)
        seen.add(runner.logits(tokens, positions)[0].tobytes())
    assert len(seen) == 1


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """As wide as Mini: of longer sums ONNX Runtime may make parts, as many as rows let it."""
    folder = tmp_path_factory.mktemp("wide")
    return load(str(tiny_model(folder, width=1024, codebook_size=203, decoder_layers=3)))


def test_at_minis_width_too_bits_do_not_depend_on_company(
    wide: LoadedModel, cache: CacheKind
) -> None:
    runner = make_runner(wide, cache, slots=34)
    tokens = np.random.default_rng(4).integers(0, wide.grid.codebook_size, (34, 2))
    prompts = [wide.text_ids(prompt) for prompt in ("a red house", "the sea at night")]
    seen = set()
    for company in (1, 2, 8, 9, 16, 17, 34):
        for slot in range(company):
            runner.open(slot, text_request(prompts[slot % 2]))
        for position in (0, 1):
            logits = runner.logits(tokens[:company, position], np.full(company, position))
        seen.add(logits[0].tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("size", [2, 8, 9, 15])
def test_at_minis_width_too_a_window_leaves_the_bits_of_steps(
    wide: LoadedModel, cache: CacheKind, size: int
) -> None:
    tokens = np.random.default_rng(5).integers(0, wide.grid.codebook_size, 16)
    stepped, filled = (make_runner(wide, cache, slots=1) for _ in range(2))
    for each in (stepped, filled):
        each.open(0, text_request(wide.text_ids("a red house"), tokens[1:]))
    filled._ids[0, 0] = tokens[0]
    filled.fill(0, 0, size)
    for position in range(size):
        stepped.logits(tokens[position : position + 1], np.array([position]))
    last = tokens[size : size + 1], np.array([size])
    assert stepped.logits(*last).tobytes() == filled.logits(*last).tobytes()


def test_a_moved_slot_draws_on_where_it_was(model: LoadedModel, cache: CacheKind) -> None:
    runner = make_runner(model, cache, slots=2)
    prompt = model.text_ids("a tree")
    for slot in (0, 1):
        runner.open(slot, text_request(prompt if slot else model.text_ids("the sea")))
    first = np.array([model.grid.start_token] * 2)
    runner.logits(first, np.array([0, 0]))
    expected = runner.logits(np.array([5, 6]), np.array([1, 1]))[1].copy()
    runner.move(1, 0)
    assert (runner.logits(np.array([6]), np.array([1]))[0] == expected).all()


def test_more_texts_than_are_remembered_are_encoded_again(
    model: LoadedModel, cache: CacheKind
) -> None:
    runner = make_runner(model, cache, slots=1)
    first = np.array([model.grid.start_token])
    runner.open(0, text_request(model.text_ids("a red house")))
    expected = runner.logits(first, np.array([0])).copy()
    for number in range(70):
        runner.open(0, text_request((0, number % 9 + 4, number // 9 + 4, 2, *[1] * 60)))
    runner.open(0, text_request(model.text_ids("a red house")))
    assert (runner.logits(first, np.array([0])) == expected).all()


def test_weights_of_a_real_folder_load_in_float32(tmp_path: Path) -> None:
    model = load(str(tiny_model(tmp_path)))
    assert {array.dtype for array in model.encoder.values()} == {np.dtype(np.float32)}


def test_broken_logits_leave_nothing_behind_for_the_next_picture(
    model: LoadedModel, cache: CacheKind
) -> None:
    runner = make_runner(model, cache, slots=1)
    job = requests(model)[2]
    expected = ids_alone(runner, job)
    for buffer in runner.held.caches.values():
        buffer[:] = np.nan  # as weights that overflow leave it
    engine = Engine(runner)
    engine.submit(0, job)
    events: list[EngineEvent] = []
    while not engine.idle:
        events += engine.step()
        for buffer in runner.held.caches.values():
            buffer[:] = np.nan
    assert isinstance(events[-1], PictureEnded)
    assert "not finite" in events[-1].text
    assert (ids_alone(runner, job) == expected).all()


def test_a_nan_that_nothing_was_drawn_from_is_not_left_either(
    model: LoadedModel, cache: CacheKind
) -> None:
    """As of a picture that is cancelled between a damaged prefix and its first draw."""
    runner = make_runner(model, cache, slots=1)
    job = requests(model)[2]
    expected = ids_alone(runner, job)
    runner.open(0, job)
    for buffer in runner.held.caches.values():
        buffer[:] = np.nan
    assert (ids_alone(runner, job) == expected).all()
