"""The scheduler: dense slots, fairness between clients, a bounded queue."""

from __future__ import annotations

import random

import pytest
from rowcast_server.engine.scheduler import Move, Scheduler
from rowcast_server.errors import QueueFull


def test_items_of_one_client_go_in_their_order() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=2, queue_limit=9)
    for item in ("a1", "a2", "a3"):
        scheduler.put("a", item)
    assert list(scheduler.admit()) == [(0, "a1"), (1, "a2")]
    assert scheduler.order() == ["a3"]


def test_a_client_that_floods_does_not_hold_up_another() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=1, queue_limit=99)
    for number in range(20):
        scheduler.put("flood", f"f{number}")
    scheduler.put("one", "single")
    assert list(scheduler.admit()) == [(0, "f0")]
    assert scheduler.order()[:3] == ["single", "f1", "f2"]


def test_the_order_told_is_the_order_kept() -> None:
    choose = random.Random(1)
    scheduler: Scheduler[int] = Scheduler(slots=1, queue_limit=99)
    for item in range(40):
        scheduler.put(choose.choice("abc"), item)
    told = scheduler.order()
    kept = []
    for _ in range(40):
        ((_, item),) = scheduler.admit()
        kept.append(item)
        scheduler.release(0)
    assert told == kept


def full(*items: str) -> Scheduler[str]:
    scheduler: Scheduler[str] = Scheduler(slots=len(items), queue_limit=9)
    for item in items:
        scheduler.put(item, item)
    list(scheduler.admit())
    return scheduler


def test_slots_are_dense_again_before_the_next_step() -> None:
    scheduler = full("a", "b", "c")
    scheduler.release(0)
    assert (scheduler.slot_of("a"), scheduler.slot_of("c")) == (None, 2)
    assert list(scheduler.compact()) == [Move(source=2, destination=0)]
    assert scheduler.running == ["c", "b"]
    scheduler.release(1)
    assert list(scheduler.compact()) == []
    assert scheduler.running == ["c"]


def test_who_waits_takes_a_freed_slot_and_nothing_moves() -> None:
    scheduler = full("a", "b", "c")
    scheduler.release(1)
    scheduler.put("d", "d")
    assert list(scheduler.admit()) == [(1, "d")]
    assert list(scheduler.compact()) == []
    assert scheduler.running == ["a", "d", "c"]


def test_a_slot_moves_once_however_many_leave() -> None:
    scheduler = full(*"abcdefgh")
    for slot in range(7):
        scheduler.release(slot)
    assert list(scheduler.compact()) == [Move(source=7, destination=0)]
    assert scheduler.running == ["h"]


def test_after_any_arrivals_and_departures_item_i_has_slot_i() -> None:
    choose = random.Random(2)
    scheduler: Scheduler[int] = Scheduler(slots=6, queue_limit=99)
    contents: dict[int, int] = {}  # of each slot, as the runner keeps it
    for item in range(300):
        scheduler.put(choose.choice("abc"), item)
        for running in scheduler.running:
            if choose.random() < 0.25 and (slot := scheduler.slot_of(running)) is not None:
                scheduler.release(slot)
        contents.update(scheduler.admit())
        for move in scheduler.compact():
            contents[move.destination] = contents[move.source]
        assert scheduler.running == [contents[slot] for slot in range(len(scheduler.running))]


def test_the_queue_is_bounded_and_a_withdrawn_item_makes_room() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=1, queue_limit=2)
    scheduler.put("a", "0")
    list(scheduler.admit())
    scheduler.put("a", "1")
    scheduler.put("a", "2")
    with pytest.raises(QueueFull):
        scheduler.put("a", "3")
    assert scheduler.withdraw("1")
    assert not scheduler.withdraw("1")
    scheduler.put("a", "3")
    assert scheduler.order() == ["2", "3"]
    assert scheduler.waiting_count == 2


def test_a_burst_may_fill_the_slots_and_the_queue_before_anything_is_admitted() -> None:
    scheduler: Scheduler[int] = Scheduler(slots=3, queue_limit=2)
    for item in range(5):
        scheduler.put("a", item)
    with pytest.raises(QueueFull):
        scheduler.put("a", 5)
    assert len(list(scheduler.admit())) == 3
    with pytest.raises(QueueFull):
        scheduler.put("a", 5)


def test_nothing_can_be_released_that_does_not_run() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=2, queue_limit=2)
    with pytest.raises(ValueError, match="not running"):
        scheduler.release(0)
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(slots=0, queue_limit=2)


def test_clear_forgets_everything() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=1, queue_limit=5)
    for item in "abc":
        scheduler.put(item, item)
    list(scheduler.admit())
    scheduler.clear()
    assert (scheduler.running, scheduler.order(), scheduler.waiting_count) == ([], [], 0)
