"""Sampling: each filter does what it says, and draws follow the softmax of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from rowcast_server.engine.request import Sampling
from rowcast_server.engine.sampling import candidates, draw, guide

LOGITS = np.array([0.0, 3.0, 1.0, 3.0, 2.0, -1.0], np.float32)
OPEN = Sampling(temperature=1.0, top_k=0, top_p=1.0, guidance=1.0)


def test_guidance_extrapolates_from_unconditional_to_conditional() -> None:
    conditional, unconditional = np.array([2.0], np.float32), np.array([1.0], np.float32)
    assert guide(conditional, unconditional, 16.0) == 17.0
    assert guide(conditional, unconditional, 1.0) == 2.0
    assert guide(conditional, unconditional, 0.0) == 1.0
    assert guide(conditional, unconditional, 4.0).dtype == np.float32


@pytest.mark.parametrize(
    ("top_k", "kept"),
    [(0, [0, 1, 2, 3, 4, 5]), (1, [1, 3]), (2, [1, 3]), (3, [1, 3, 4]), (99, [0, 1, 2, 3, 4, 5])],
)
def test_top_k_keeps_the_best_and_their_ties(top_k: int, kept: list[int]) -> None:
    codes, _ = candidates(LOGITS, Sampling(top_k=top_k))
    assert codes.tolist() == kept


def test_temperature_divides_distances_to_the_best() -> None:
    _, scaled = candidates(LOGITS, Sampling(temperature=0.5, top_k=0))
    assert scaled.tolist() == [-6.0, 0.0, -4.0, 0.0, -2.0, -8.0]


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.38, 1), (0.4, 2), (0.95, 4), (1.0, 6)])
def test_top_p_keeps_the_smallest_set_of_that_probability(top_p: float, kept: int) -> None:
    codes, scaled = candidates(LOGITS, Sampling(top_k=0, top_p=top_p))
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum()
    assert len(codes) == kept
    assert probabilities[codes].sum() >= min(top_p, 0.9999)
    assert list(codes) == sorted(codes)
    assert len(scaled) == kept


def test_draws_follow_the_probabilities() -> None:
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum()
    drawn = [draw(LOGITS, LOGITS, OPEN, seed, 0, 5) for seed in range(6_000)]
    shares = np.bincount(drawn, minlength=6) / len(drawn)
    assert np.abs(shares - expected).max() < 0.02


def test_a_draw_repeats_and_other_positions_differ() -> None:
    first = [draw(LOGITS, LOGITS, OPEN, 3, 1, position) for position in range(60)]
    again = [draw(LOGITS, LOGITS, OPEN, 3, 1, position) for position in range(60)]
    other = [draw(LOGITS, LOGITS, OPEN, 3, 2, position) for position in range(60)]
    assert first == again
    assert first != other


def test_a_low_temperature_draws_the_best() -> None:
    logits = np.array([0.0, 1.0, 0.5], np.float32)
    cold = Sampling(temperature=0.01, top_k=0)
    assert {draw(logits, logits, cold, seed, 0, 0) for seed in range(50)} == {1}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    logits = np.array([0.0, bad], np.float32)
    with pytest.raises(FloatingPointError, match="not finite"):
        draw(logits, logits, OPEN, 0, 0, 0)
