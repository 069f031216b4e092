"""The torch runner against the slow reference and the CPU runner, and what may not change ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_server.engine.devices_torch import Device
from rowcast_server.engine.engine import NOT_FINITE, Engine
from rowcast_server.engine.request import Ending, PictureEnded, PictureRequest, RowDrawn
from rowcast_server.engine.runner import NOT_DRAWN, Runner
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.runner_torch import TorchRunner, powers_of_two
from rowcast_server.models.loading import LoadedModel
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.facts import Network, Weights

from tests.support.engine.drawing import (
    draw_all,
    ids_alone,
    reference_logits,
    requests,
    text_request,
)
from tests.support.engine.replayed_device import ReplayedDevice, WouldWait

pytestmark = pytest.mark.usefixtures("one_thread")

SLOTS = 8


def make_runner(
    model: LoadedModel,
    slots: int = SLOTS,
    dtype: str = "float32",
    *,
    device: Device | None = None,
    buckets: Sequence[int] | None = None,
    **weights: Weights,
) -> TorchRunner:
    parts = {"encoder": model.encoder, "decoder": model.decoder, **weights}
    network = Network(parts["encoder"], parts["decoder"], model.grid, digest=None)
    return TorchRunner(network, slots, device or Device("cpu"), dtype, buckets)


@pytest.fixture(scope="module")
def runner(model: LoadedModel) -> TorchRunner:
    return make_runner(model)


@pytest.fixture(scope="module")
def one_shape(model: LoadedModel) -> TorchRunner:
    """A runner whose steps are all of the same shape, however few pictures there are."""
    return make_runner(model, buckets=(SLOTS,))


@pytest.fixture(scope="module")
def by_onnx(model: LoadedModel) -> OnnxRunner:
    return OnnxRunner(model, SLOTS, threads=1)


def random_tokens(model: LoadedModel) -> NDArray[np.int64]:
    """The start token and ids for all positions but the last."""
    drawn = np.random.default_rng(0).integers(0, model.grid.codebook_size, model.grid.tokens - 1)
    return np.concatenate([[model.grid.start_token], drawn])


@pytest.mark.parametrize("guidance", [0.0, 1.0, 16.0])
def test_every_step_agrees_with_the_slow_reference(
    model: LoadedModel, runner: TorchRunner, guidance: float
) -> None:
    tokens, prompt = random_tokens(model), model.text_ids("a red house and a blue boat")
    expected = reference_logits(model, prompt, tokens, guidance)
    runner.open(0, text_request(prompt, guidance=guidance))
    for position, token in enumerate(tokens):
        logits = runner.logits(np.array([token]), np.array([position]))
        difference = np.abs(logits[0] - expected[position]).max()
        assert difference < 1e-4 * expected.std()


def test_greedy_and_sampled_ids_are_the_cpu_runners(
    model: LoadedModel, runner: TorchRunner, by_onnx: OnnxRunner
) -> None:
    """Two sums in another order part where two codes are nearly as good: in none of these."""
    for job in requests(model):
        for sampling in (job.sampling, replace(job.sampling, top_k=1, top_p=1.0)):
            asked = replace(job, sampling=sampling)
            assert (ids_alone(runner, asked) == ids_alone(by_onnx, asked)).all()


@pytest.mark.parametrize(
    ("slots", "buckets"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))],
)
def test_buckets_are_powers_of_two_and_all_slots(slots: int, buckets: tuple[int, ...]) -> None:
    assert powers_of_two(slots) == buckets


def test_in_one_bucket_ids_are_the_same_alone_and_in_company(
    model: LoadedModel, one_shape: TorchRunner
) -> None:
    jobs = requests(model)
    alone = [ids_alone(one_shape, job) for job in jobs]
    choose = np.random.default_rng(2)
    for _ in range(12):
        starts = {n: (int(choose.integers(0, 20)), job) for n, job in enumerate(jobs)}
        together = draw_all(Engine(one_shape), starts)
        assert [n for n in range(SLOTS) if not (together[n] == alone[n]).all()] == []


def test_in_one_bucket_logits_have_the_same_bits_in_any_slot_and_company(
    model: LoadedModel, one_shape: TorchRunner
) -> None:
    prompts = {True: model.text_ids("a red house"), False: model.text_ids("the sea at night")}
    seen = set()
    for mine in range(SLOTS):
        for company in (mine + 1, SLOTS):
            for slot in range(company):
                one_shape.open(slot, text_request(prompts[slot == mine]))
            fed = np.where(np.arange(company) == mine, 3, 7)
            logits = one_shape.logits(fed, np.zeros(company, np.int64))
            seen.add(logits[mine].tobytes())
    assert len(seen) == 1


def test_between_buckets_logits_differ_by_rounding_alone(
    model: LoadedModel, runner: TorchRunner
) -> None:
    for slot in range(SLOTS):
        runner.open(slot, text_request(model.text_ids("a red house" if slot == 0 else "the sea")))
    alone, *together = (
        runner.logits(np.full(n, 3), np.zeros(n, np.int64))[0] for n in range(1, SLOTS + 1)
    )
    for logits in together:
        assert np.abs(logits - alone).max() < 1e-5 * alone.std()


def test_pictures_that_join_and_leave_among_surplus_rows_keep_their_ids(
    model: LoadedModel, runner: TorchRunner
) -> None:
    """3 and 5 running slots are drawn as 4 and 8: the surplus slots are opened later."""
    jobs = requests(model)
    starts = {n: (4 * n, job) for n, job in enumerate(jobs)}
    together = draw_all(Engine(runner), starts)
    for number, job in enumerate(jobs):
        assert (together[number] == ids_alone(runner, job)).all()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_prefix_continues_to_the_same_ids(
    model: LoadedModel, one_shape: TorchRunner, rows: int
) -> None:
    job = requests(model)[4]
    whole = ids_alone(one_shape, job)
    rest = ids_alone(one_shape, replace(job, prefix=whole[:rows]))
    assert (rest == whole[rows:]).all()


def test_at_given_positions_a_step_draws_nothing(model: LoadedModel, runner: TorchRunner) -> None:
    job = requests(model)[4]
    given = np.arange(8).reshape(2, 4)
    runner.open(0, replace(job, prefix=given))
    for position in range(12):
        runner.step(np.array([position]))
    assert [runner.row(0, row).ids().tolist() for row in (0, 1)] == given.tolist()
    assert (runner.row(0, 2).ids() != NOT_DRAWN).all()


@pytest.mark.parametrize("sizes", [(15,), (1, 2, 3, 9), (4, 11), (14, 1)])
def test_a_window_of_given_tokens_leaves_what_single_steps_do_up_to_rounding(
    model: LoadedModel, sizes: tuple[int, ...]
) -> None:
    tokens, prompt = random_tokens(model), model.text_ids("a red house")
    stepped, filled = make_runner(model, slots=1), make_runner(model, slots=3)
    stepped.open(0, text_request(prompt))
    for position in range(15):
        stepped.logits(tokens[position : position + 1], np.array([position]))
    for slot in range(3):
        ours = prompt if slot == 1 else model.text_ids("the sea")
        filled.open(slot, text_request(ours, tokens[1:]))
    first = 0
    for size in sizes:
        filled.fill(1, first, size)
        first += size
    expected = stepped.logits(tokens[15:], np.array([15]))
    actual = filled.logits(np.array([1, tokens[15], 1]), np.array([0, 15, 0]))
    assert np.abs(actual[1] - expected[0]).max() < 1e-5 * expected.std()


def test_a_moved_slot_draws_on_where_it_was(model: LoadedModel, one_shape: TorchRunner) -> None:
    jobs = requests(model)
    whole = ids_alone(one_shape, jobs[4])
    one_shape.open(0, jobs[1])
    one_shape.open(1, replace(jobs[4], prefix=whole[:1]))
    for position in range(9):
        one_shape.step(np.array([position, position]))
    one_shape.move(1, 0)
    one_shape.open(1, jobs[2])  # what moved does not hang on where it came from
    for position in range(9, 16):
        one_shape.step(np.array([position, position - 9]))
    assert [one_shape.row(0, row).ids().tolist() for row in range(4)] == whole.tolist()


def test_a_row_is_a_snapshot(model: LoadedModel, runner: TorchRunner) -> None:
    jobs = requests(model)
    runner.open(0, jobs[1])
    for position in range(4):
        runner.step(np.array([position]))
    row = runner.row(0, 0)
    assert row.ready
    kept = row.ids().tolist()
    runner.open(0, replace(jobs[2], prefix=np.full((2, 4), 5)))
    runner.step(np.array([0]))
    assert runner.row(0, 0).ids().tolist() == [5, 5, 5, 5]
    assert row.ids().tolist() == kept


def test_broken_weights_draw_nothing_and_fail_the_picture(model: LoadedModel) -> None:
    decoder = dict(model.decoder)
    decoder["lm_head.weight"] = np.full_like(decoder["lm_head.weight"], np.nan)
    broken = make_runner(model, slots=2, decoder=decoder)
    engine = Engine(broken)
    engine.submit(3, requests(model)[0])
    events = []
    while not engine.idle:
        events += engine.step()
    assert events[-1] == PictureEnded(3, Ending.FAILED, NOT_FINITE)
    assert not any(isinstance(event, RowDrawn) for event in events)
    assert (broken.row(0, 0).ids() == NOT_DRAWN).all()


@pytest.fixture(scope="module")
def poisoned(model: LoadedModel) -> tuple[TorchRunner, PictureRequest]:
    """A runner, and a picture all of whose keys and values are NaN, by its text alone."""
    encoder = dict(model.encoder)
    embedding = encoder["embed_tokens.weight"].copy()
    assert isinstance(model.tokenizer, TextTokenizer)
    embedding[model.tokenizer.vocab["g"]] = np.nan
    encoder["embed_tokens.weight"] = embedding
    broken = make_runner(model, slots=2, buckets=(2,), encoder=encoder)
    return broken, replace(requests(model)[1], text_ids=model.text_ids("night"))


def test_a_picture_of_nan_spoils_no_neighbour(
    model: LoadedModel, poisoned: tuple[TorchRunner, PictureRequest]
) -> None:
    runner, bad = poisoned
    job = requests(model)[2]
    alone = ids_alone(runner, job)
    runner.open(0, bad)
    runner.open(1, job)
    for position in range(16):
        runner.step(np.array([position, position]))
    assert (runner.row(0, 3).ids() == NOT_DRAWN).all()
    assert [runner.row(1, row).ids().tolist() for row in range(4)] == alone.tolist()


def test_a_picture_of_nan_leaves_nothing_in_its_slot(
    model: LoadedModel, poisoned: tuple[TorchRunner, PictureRequest]
) -> None:
    runner, bad = poisoned
    job = requests(model)[2]
    before = ids_alone(runner, job)
    runner.open(0, bad)
    for position in range(16):
        runner.step(np.array([position]))
    assert (ids_alone(runner, job) == before).all()


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.9), ("float16", 0.97)])
def test_half_the_bytes_and_mostly_the_same_best_code(
    model: LoadedModel, runner: TorchRunner, dtype: str, least: float
) -> None:
    half = make_runner(model, dtype=dtype)
    memory = half.held.memory
    assert {memory.keys.dtype, memory.values.dtype, memory.cross.dtype} == {getattr(torch, dtype)}
    assert memory.keys.nbytes * 2 == runner.held.memory.keys.nbytes
    tokens = random_tokens(model)
    prompts = ["a red house", "a blue boat", "the sun", "moon over the sea"] * 2
    for each in (runner, half):
        for slot, prompt in enumerate(prompts):
            each.open(slot, text_request(model.text_ids(prompt)))
    same = 0
    for position, token in enumerate(tokens):
        fed = (np.full(SLOTS, token) + 11 * np.arange(SLOTS)) % model.grid.codebook_size
        exact, rounded = (each.logits(fed, np.full(SLOTS, position)) for each in (runner, half))
        assert np.abs(rounded - exact).max() < 0.2 * exact.std()
        same += int((rounded.argmax(-1) == exact.argmax(-1)).sum())
    share = same / (SLOTS * len(tokens))
    print(f"{dtype}: {share:.1%} of the best codes are float32's")
    assert share >= least


def test_a_picture_in_bfloat16_is_whole(model: LoadedModel) -> None:
    ids = ids_alone(make_runner(model, slots=2, dtype="bfloat16"), requests(model)[1])
    assert ids.shape == (4, 4)
    assert ((ids >= 0) & (ids < model.grid.codebook_size)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_prepared_steps_draw_by_their_tensors_alone(model: LoadedModel, dtype: str) -> None:
    """As a CUDA graph does: of a step, nothing in Python runs again, and nothing waits."""
    eager: Runner = make_runner(model, slots=4, dtype=dtype)
    replayed: Runner = make_runner(model, slots=4, dtype=dtype, device=ReplayedDevice("cpu"))
    jobs = requests(model)
    jobs[3] = replace(jobs[3], prefix=np.arange(8).reshape(2, 4))
    starts = {number: (3 * number, job) for number, job in enumerate(jobs)}
    expected = draw_all(Engine(eager), starts)
    actual = draw_all(Engine(replayed), starts)
    for number in range(len(jobs)):
        assert (actual[number] == expected[number]).all()


def test_a_step_that_would_wait_for_the_host_cannot_be_prepared() -> None:
    values = torch.ones(3)

    def waits() -> None:
        if values.sum().item() > 2:
            values.add_(1)

    with pytest.raises(WouldWait):
        ReplayedDevice("cpu").prepared(waits)


def test_more_texts_than_are_remembered_are_encoded_again(model: LoadedModel) -> None:
    runner = make_runner(model, slots=1)
    job = requests(model)[1]
    expected = ids_alone(runner, job)
    for number in range(70):
        runner.open(0, text_request((0, number % 9 + 4, number // 9 + 4, 2, *[1] * 60)))
    assert (ids_alone(runner, job) == expected).all()
