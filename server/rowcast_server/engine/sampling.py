"""From logits to a token: guidance, top-k, temperature, top-p, then Gumbel noise. All float32.

The order is min-dalle's (guidance, top-k with ties kept, temperature), with top-p after it. One
picture is sampled by itself, so its tokens cannot depend on its company.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .noise import gumbel, noise_words
from .request import Sampling

# Part of a model's revision: raise it when the ids for the same logits change.
SAMPLER_VERSION = 1


def guide(
    conditional: NDArray[np.float32], unconditional: NDArray[np.float32], guidance: float
) -> NDArray[np.float32]:
    """Guided logits u + s (c - u), float32, any shape."""
    return unconditional + np.float32(guidance) * (conditional - unconditional)


def candidates(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The codes that may be drawn and their logits over temperature, from guided logits [codes]."""
    if 0 < sampling.top_k < logits.size:
        threshold = np.partition(logits, -sampling.top_k)[-sampling.top_k]
        codes = np.flatnonzero(logits >= threshold)
    else:
        codes = np.arange(logits.size)
    scaled = (logits[codes] - logits.max()) / np.float32(sampling.temperature)
    if sampling.top_p < 1.0:
        order = np.argsort(-scaled, kind="stable")
        probabilities = np.exp(scaled[order])
        reached = np.cumsum(probabilities) / probabilities.sum()
        # The first codes whose probability together reaches top_p; at least the best one.
        kept = np.sort(order[: int(np.searchsorted(reached, np.float32(sampling.top_p))) + 1])
        codes, scaled = codes[kept], scaled[kept]
    return codes, scaled


def draw(
    conditional: NDArray[np.float32],
    unconditional: NDArray[np.float32],
    sampling: Sampling,
    seed: int,
    image: int,
    position: int,
) -> int:
    """One token: the Gumbel-max sample of the guided, filtered logits [codes].

    Raises FloatingPointError where the logits are not finite (broken weights): such a picture is
    failed rather than drawn from garbage.
    """
    with np.errstate(all="ignore"):
        logits = guide(conditional, unconditional, sampling.guidance)
    if not np.isfinite(logits).all():
        raise FloatingPointError("the model's logits are not finite; are its weights damaged?")
    codes, scaled = candidates(logits, sampling)
    noise = gumbel(noise_words(seed, image, position, codes))
    return int(codes[np.argmax(scaled + noise)])
