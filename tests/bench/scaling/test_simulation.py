"""The simulated cluster: held against queueing theory, and nothing is lost in it."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import mean

import pytest
from rowcast_bench.scaling.simulation import Plan, StepTimes, simulate

ROWS = COLS = 4
TOKENS = ROWS * COLS
ONE_SECOND = StepTimes((1,), (1 / TOKENS,))  # a picture that is alone
ALIKE = StepTimes((1, 64), (1 / TOKENS, 1 / TOKENS))  # however many there are


def plan(**changes: object) -> Plan:
    return replace(
        Plan(1, 1, ONE_SECOND, ROWS, COLS, pictures_per_second=0.5, seconds=20_000.0),
        **changes,  # type: ignore[arg-type]
    )


def test_steps_between_those_that_were_measured_are_on_a_line() -> None:
    steps = StepTimes((1, 4, 8), (1.0, 4.0, 6.0))
    assert [steps.of(pictures) for pictures in (1, 2, 4, 6, 8, 16)] == [1, 2, 4, 5, 6, 12]


def test_one_slot_is_the_queue_of_theory() -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) services (Pollaczek and Khinchine)."""
    for load in (0.3, 0.5, 0.8):
        found = simulate(plan(pictures_per_second=load))
        assert mean(found.waited) == pytest.approx(load / (2 * (1 - load)), rel=0.1)
        assert mean(found.whole) == pytest.approx(mean(found.waited) + 1, rel=1e-3)


def test_many_slots_that_do_not_slow_each_other_are_a_loss_free_system() -> None:
    """With slots for all, nobody waits, and Little's law holds."""
    found = simulate(plan(slots=64, steps=ALIKE, pictures_per_second=8.0, seconds=2_000.0))
    assert max(found.waited) == 0.0
    assert found.whole == pytest.approx([1.0] * len(found.whole))
    assert found.first_row == pytest.approx([1 / ROWS] * len(found.first_row))
    assert found.ended / 2_000 == pytest.approx(8.0, rel=0.05)


def test_eight_slots_wait_as_erlang_says_for_their_mean() -> None:
    """M/D/c waits about half of what M/M/c does (Erlang C), within some percent."""
    slots, rate = 8, 6.4
    found = simulate(
        plan(slots=slots, steps=ALIKE, pictures_per_second=rate, seconds=10_000.0, warm_up=100.0)
    )
    terms = [rate**n / math.factorial(n) for n in range(slots)]
    last = rate**slots / math.factorial(slots) / (1 - rate / slots)
    waits = last / (sum(terms) + last) / (slots - rate)
    assert mean(found.waited) == pytest.approx(waits / 2, rel=0.15)


def test_a_seed_gives_the_same_again_and_another_does_not() -> None:
    once, again, other = (
        simulate(plan(replicas=4, seconds=500.0, pictures_per_second=2.0), seed)
        for seed in (1, 1, 2)
    )
    assert once == again
    assert once.whole != other.whole


def test_replicas_that_die_lose_no_picture() -> None:
    busy = plan(replicas=6, slots=4, steps=ALIKE, pictures_per_second=12.0, seconds=2_000.0)
    found = simulate(replace(busy, death_every=100.0))
    assert found.deaths > 50
    assert found.ended == found.arrived
    assert len(found.pauses) > 50
    assert min(found.pauses) >= busy.noticed_after
    assert mean(found.whole) > mean(simulate(busy).whole)


def test_where_all_are_dead_pictures_wait_until_one_is_back() -> None:
    alone = plan(slots=4, steps=ALIKE, pictures_per_second=1.0, seconds=300.0, death_every=50.0)
    found = simulate(alone)
    assert found.deaths > 0
    assert found.ended == found.arrived
    assert max(found.pauses) >= alone.back_after
