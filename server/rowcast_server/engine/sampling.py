"""Sampling a token from guided logits: top-k, temperature, top-p, min-p, then Gumbel-max.

All float32. The order is min-dalle's (top-k with ties kept, temperature), with top-p (Holtzman et
al., arXiv:1904.09751) and min-p (Nguyen et al., arXiv:2407.01082) after it. Each row is filtered by
itself, and its noise is given by its key: company changes no token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..network.facts import Sampling
from .noise import gumbel, noise_words
from .request import PictureRequest
from .runner import NOT_DRAWN


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
    likely = scaled >= min_p_threshold(sampling.min_p)
    return codes[likely], scaled[likely]


def min_p_threshold(min_p: float) -> np.float32:
    """The least logit over temperature, counted from the best one's, that ``min_p`` keeps: a code's
    share of the best one's probability is exp(scaled), so no sum is needed. 0 keeps all."""
    return np.log(np.float32(min_p)) if min_p > 0 else np.float32(-np.inf)


def draw(
    logits: NDArray[np.float32],
    requests: Sequence[PictureRequest],
    positions: Sequence[int],
) -> NDArray[np.int64]:
    """A token for each row of guided logits [rows, codes], int64 [rows]: the Gumbel-max sample of
    the codes that the filters leave.

    NOT_DRAWN where the logits are not finite (broken weights): such a picture fails rather than
    being drawn from garbage. The rows' noise is made in one piece, which takes a fifth of the time.
    """
    drawn = np.full(len(requests), NOT_DRAWN, np.int64)
    kept: list[tuple[int, NDArray[np.int64], NDArray[np.float32]]] = []
    for row, request in enumerate(requests):
        if np.isfinite(logits[row]).all():
            kept.append((row, *candidates(logits[row], request.sampling)))
    if not kept:
        return drawn
    counts = [len(codes) for _, codes, _ in kept]
    keys = [(requests[row].seed, requests[row].image, positions[row]) for row, _, _ in kept]
    seed, image, position = np.repeat(np.array(keys, np.uint64).T, counts, axis=1)
    words = noise_words(seed, image, position, np.concatenate([codes for _, codes, _ in kept]))
    noises = np.split(gumbel(words), np.cumsum(counts)[:-1])
    for (row, codes, scaled), noise in zip(kept, noises, strict=True):
        drawn[row] = codes[np.argmax(scaled + noise)]
    return drawn
