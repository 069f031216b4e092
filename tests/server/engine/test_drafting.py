"""Drafting keeps what was guessed right, and never a token after a wrong guess."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.engine.drafting import Draft

TOKENS, COLS = 24, 4
Rule = Callable[[NDArray[np.int64]], int]  # what is drawn after these ids


def one_by_one(rule: Rule) -> NDArray[np.int64]:
    ids = np.zeros(TOKENS, np.int64)
    for position in range(TOKENS):
        ids[position] = rule(ids[:position])
    return ids


def drafted(rule: Rule, window: int) -> tuple[NDArray[np.int64], int]:
    """The ids, and the number of passes that they took."""
    draft, ids, first, passes = Draft(COLS), np.zeros(TOKENS, np.int64), 0, 0
    while first < TOKENS:
        count = min(window, TOKENS - first)
        guessed = draft.guess(ids, first, count)
        drawn = np.array(
            [rule(np.concatenate([ids[:first], guessed[:index]])) for index in range(count)]
        )
        kept = draft.accept(guessed, drawn, first)
        ids[first : first + kept] = drawn[:kept]
        first, passes = first + kept, passes + 1
    return ids, passes


def hashed(before: NDArray[np.int64]) -> int:
    """Depends on the last two ids and the position: guesses are mostly wrong."""
    return int(np.random.default_rng([len(before), *before[-2:]]).integers(5))


@pytest.mark.parametrize("window", [1, 2, 5, 16])
def test_the_ids_are_those_of_drawing_one_by_one(window: int) -> None:
    assert (drafted(hashed, window)[0] == one_by_one(hashed)).all()


def test_what_repeats_is_drawn_a_window_at_a_time() -> None:
    ids, passes = drafted(lambda before: 7, window=8)
    assert (ids == 7).all()
    assert passes <= 1 + TOKENS // 8


def test_rows_like_those_above_are_guessed() -> None:
    passes = drafted(lambda before: len(before) % COLS, window=8)[1]
    assert passes < TOKENS // 4


def test_a_pass_starts_from_what_the_last_one_drew() -> None:
    draft = Draft(COLS)
    assert draft.accept(np.array([9, 1, 2]), np.array([0, 5, 6]), first=3) == 1
    assert draft.guess(np.zeros(TOKENS, np.int64), 4, 2).tolist() == [5, 6]


def test_one_token_at_least_stands() -> None:
    assert Draft(COLS).accept(np.array([1]), np.array([2]), first=0) == 1
