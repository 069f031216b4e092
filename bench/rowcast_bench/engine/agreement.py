"""Agreement of int8 with float32 matrices: teacher-forced, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_whole
from rowcast_server.models.loading import Transformer


def int8_agreement(
    model: Transformer,
    prompts: Sequence[str],
    threads: int,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Draw the prompts in float32 and feed what was drawn to both; ``advance`` once a prompt.

    Over all positions the share whose best guided code is the same, and the mean of
    KL(float32 ‖ int8) in nats of the guided distributions at temperature 1.
    """
    exact, small = (OnnxRunner(model, 1, threads, dtype) for dtype in ("float32", "int8"))
    same: list[bool] = []
    divergence: list[float] = []
    for seed, prompt in enumerate(prompts):
        request = PictureRequest(model.text_ids(prompt), seed, 0, model.sampling, model.grid.rows)
        ids = np.concatenate(
            [[model.grid.start_token], draw_whole(Engine(exact), request).ravel()[:-1]]
        )
        for runner in (exact, small):
            runner.open(0, request)
        for position, token in enumerate(ids):
            fed = np.array([token]), np.array([position])
            first, second = (runner.logits(*fed)[0].astype(np.float64) for runner in (exact, small))
            same.append(bool(first.argmax() == second.argmax()))
            divergence.append(_kl(first, second))
        advance()
    return {
        "int8_same_greedy": round(float(np.mean(same)), 4),
        "int8_mean_kl": round(float(np.mean(divergence)), 5),
        "int8_tokens_compared": len(same),
    }


def _kl(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    p, q = (logits - logits.max() for logits in (first, second))
    p, q = (logits - np.log(np.exp(logits).sum()) for logits in (p, q))
    return float((np.exp(p) * (p - q)).sum())
