"""What a dtype changes of postcard's ids: the share of draws that stay those of float32."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_server.engine.devices_torch import Device
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_torch import TorchRunner
from rowcast_server.engine.sampling import draw
from rowcast_server.models.loading import LoadedModel, load
from rowcast_server.network.facts import Sampling

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("one_thread")]

PROMPTS = [
    "sunset over the sea, a boat with a red sail",
    "the meadow by day, a red house on the left, two round trees",
    "dawn over the desert, a blue balloon in the middle",
    "a clear night over the mountains, a full moon on the left",
]
PICTURES = len(PROMPTS)
# The least share of float32's draws, by guidance.
LEAST = {
    "bfloat16": {2.0: 0.98, 16.0: 0.9},
    "float16": {2.0: 0.99, 16.0: 0.98},
}


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load("postcard")


def make_runner(model: LoadedModel, dtype: str) -> TorchRunner:
    return TorchRunner(model, PICTURES, Device("cpu"), dtype, buckets=(PICTURES,))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("guidance", [2.0, 16.0])
@pytest.mark.parametrize("dtype", LEAST)
def test_most_draws_are_float32s(model: LoadedModel, dtype: str, guidance: float) -> None:
    """Both are fed with float32's ids, so that one other draw does not count for all after it."""
    exact, rounded = make_runner(model, "float32"), make_runner(model, dtype)
    sampling = Sampling(temperature=0.8, top_k=16, top_p=1.0, guidance=guidance)
    requests = [
        PictureRequest(model.text_ids(prompt), 77 * slot, 0, sampling, model.grid.rows)
        for slot, prompt in enumerate(PROMPTS)
    ]
    for slot, request in enumerate(requests):
        for runner in (exact, rounded):
            runner.open(slot, request)
    fed = np.full(PICTURES, model.grid.start_token)
    same, errors = 0, []
    for position in range(model.grid.tokens):
        truth, ours = (
            runner.logits(fed, np.full(PICTURES, position)) for runner in (exact, rounded)
        )
        expected, actual = (
            draw(logits, requests, [position] * PICTURES) for logits in (truth, ours)
        )
        errors.append(np.abs(ours - truth).max() / truth.std())
        same += int((actual == expected).sum())
        fed = expected
    share = same / (PICTURES * model.grid.tokens)
    print(
        f"postcard in {dtype}, guidance {guidance:g}: {share:.1%} of {PICTURES} x "
        f"{model.grid.tokens} draws are float32's; the largest error of a guided logit is "
        f"{np.median(errors):.3f} of their standard deviation (median over positions)"
    )
    assert share >= LEAST[dtype][guidance]
