"""The torch runner on the CPU against the CPU's own, and what may not change ids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rowcast_server.engine.devices_torch import Device
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.runner_torch import TorchRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.memory import slot_bytes
from rowcast_server.models.loading import Transformer
from rowcast_server.placement import Placement

from tests.support.engine.company import JOBS, jobs, trials
from tests.support.engine.drawing import text_request
from tests.support.engine.replayed_device import ReplayedDevice

PROMPTS = ("a red house", "a blue boat at night", "the sun", "moon over the sea " * 5)
SLOTS = JOBS - 2


@pytest.fixture(scope="module")
def runner(model: Transformer) -> TorchRunner:
    return TorchRunner(model, SLOTS, Device("cpu"), buckets=(SLOTS,))


def requests(model: Transformer, seed: int) -> list[PictureRequest]:
    return jobs([model.text_ids(prompt) for prompt in PROMPTS], model.grid.rows, seed)


@pytest.mark.parametrize("guidance", [0.0, 5.0])
def test_every_step_agrees_with_the_cpu_runner(
    model: Transformer, runner: TorchRunner, guidance: float
) -> None:
    text = text_request(model.text_ids(PROMPTS[1]), guidance=guidance)
    plain = OnnxRunner(model, 1, threads=1)
    for each in (runner, plain):
        each.open(0, text)
    drawn = np.random.default_rng(0).integers(0, model.grid.codebook_size, model.grid.tokens - 1)
    for position, token in enumerate([model.grid.start_token, *drawn]):
        fed = np.array([token]), np.array([position])
        ours, expected = runner.logits(*fed), plain.logits(*fed)
        assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


def test_it_draws_the_cpu_runner_s_pictures(model: Transformer, runner: TorchRunner) -> None:
    plain, engine = Engine(OnnxRunner(model, 1, threads=1)), Engine(runner)
    for request in requests(model, seed=1)[:4]:
        assert np.array_equal(draw_whole(engine, request), draw_whole(plain, request))


def test_random_company_changes_no_id_in_one_bucket(
    model: Transformer, runner: TorchRunner
) -> None:
    asked = requests(model, seed=2)
    alone = [draw_whole(Engine(runner), request) for request in asked]
    result = trials(runner, asked, alone, 5, latest=60)
    assert result.pictures == 5 * (JOBS - 2)
    assert result.different == 0


def test_a_prefix_changes_no_id(model: Transformer, runner: TorchRunner) -> None:
    request = requests(model, seed=3)[0]
    whole = draw_whole(Engine(runner), request)
    for rows in range(1, model.grid.rows):
        rest = draw_whole(Engine(runner), replace(request, prefix=whole[:rows]))
        assert np.array_equal(rest, whole[rows:])


def test_captured_steps_draw_the_same_and_never_wait(
    model: Transformer, runner: TorchRunner
) -> None:
    captured = Engine(TorchRunner(model, SLOTS, ReplayedDevice("cpu"), buckets=(SLOTS,)))
    for request in requests(model, seed=4)[:2]:
        assert np.array_equal(draw_whole(captured, request), draw_whole(Engine(runner), request))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_slot_takes_the_bytes_that_are_said(model: Transformer, dtype: str) -> None:
    said = slot_bytes(model.decoder, Placement("cuda", dtype), model.grid.tokens)
    held = TorchRunner(model, 2, Device("cpu"), dtype).held
    assert held.memory.nbytes == 2 * said.all
