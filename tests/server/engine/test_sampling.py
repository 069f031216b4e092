"""Sampling: each filter does what it says, and draws follow the softmax of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner import NOT_DRAWN
from rowcast_server.engine.sampling import candidates, draw
from rowcast_server.network.facts import Sampling

LOGITS = np.array([0.0, 3.0, 1.0, 3.0, 2.0, -1.0], np.float32)
OPEN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


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


@pytest.mark.parametrize(
    ("min_p", "kept"),
    [
        (0.0, [0, 1, 2, 3, 4, 5]),
        (0.01, [0, 1, 2, 3, 4, 5]),
        (0.02, [0, 1, 2, 3, 4]),  # exp(-4) = 0.018
        (0.1, [1, 2, 3, 4]),  # exp(-2) = 0.135
        (0.2, [1, 3, 4]),  # exp(-1) = 0.368
        (1.0, [1, 3]),
    ],
)
def test_min_p_keeps_what_is_so_likely_beside_the_likeliest(min_p: float, kept: list[int]) -> None:
    codes, scaled = candidates(LOGITS, Sampling(top_k=0, min_p=min_p))
    assert codes.tolist() == kept
    assert len(scaled) == len(kept)


def test_min_p_is_measured_after_the_temperature_and_beside_the_other_filters() -> None:
    hot = Sampling(temperature=4.0, top_k=5, top_p=0.99, min_p=0.5)
    codes, _ = candidates(LOGITS, hot)
    assert codes.tolist() == [1, 2, 3, 4]  # 0 is third by top_k's ties, and exp(-3 / 4) = 0.472


def draws(
    logits: NDArray[np.float32], sampling: Sampling, keys: list[tuple[int, int, int]]
) -> list[int]:
    """A token for each (seed, image, position), from the same logits."""
    rows = np.repeat(logits[None], len(keys), axis=0)
    requests = [PictureRequest((), seed, image, sampling, 1) for seed, image, _ in keys]
    ids: list[int] = draw(rows, requests, [position for *_, position in keys]).tolist()
    return ids


def test_draws_follow_the_probabilities() -> None:
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum()
    drawn = draws(LOGITS, OPEN, [(seed, 0, 5) for seed in range(6_000)])
    shares = np.bincount(drawn, minlength=6) / len(drawn)
    assert np.abs(shares - expected).max() < 0.02


def test_a_draw_repeats_and_other_positions_differ() -> None:
    keys = [(3, 1, position) for position in range(60)]
    first, again = draws(LOGITS, OPEN, keys), draws(LOGITS, OPEN, keys)
    assert first == again
    assert first != draws(LOGITS, OPEN, [(3, 2, position) for position in range(60)])


def test_a_row_draws_the_same_alone_and_among_others() -> None:
    random = np.random.default_rng(0)
    logits = random.standard_normal((40, 300)).astype(np.float32)
    requests = [
        PictureRequest(
            (),
            seed=int(random.integers(2**32)),
            image=row % 5,
            sampling=Sampling(0.5 + row / 20, (0, 1, 8, 299)[row % 4], (1.0, 0.7)[row % 2]),
            stop_row=1,
        )
        for row in range(40)
    ]
    positions = random.integers(0, 256, 40).tolist()
    together = draw(logits, requests, positions)
    for row in range(40):
        one = slice(row, row + 1)
        alone = draw(logits[one], requests[one], positions[one])
        assert alone[0] == together[row]


def test_a_low_temperature_draws_the_best() -> None:
    logits = np.array([0.0, 1.0, 0.5], np.float32)
    cold = Sampling(temperature=0.01, top_k=0)
    assert set(draws(logits, cold, [(seed, 0, 0) for seed in range(50)])) == {1}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_where_logits_are_not_finite_nothing_is_drawn_and_others_are(bad: float) -> None:
    broken, whole = np.array([0.0, bad], np.float32), np.array([0.0, 1.0], np.float32)
    rows = np.stack([broken, whole, broken])
    requests = [PictureRequest((), seed, 0, OPEN, 1) for seed in range(3)]
    first, second, third = draw(rows, requests, [0, 0, 0])
    assert first == third == NOT_DRAWN
    assert [second] == draws(whole, OPEN, [(1, 0, 0)])
    assert draw(rows[:1], requests[:1], [0]).tolist() == [NOT_DRAWN]
