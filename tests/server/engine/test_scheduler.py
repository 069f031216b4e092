"""The scheduler: dense slots, fairness between clients."""

from __future__ import annotations

import random

import pytest
from rowcast_server.engine.scheduler import Scheduler


def test_items_of_one_client_go_in_their_order() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=2)
    for item in ("a1", "a2", "a3"):
        scheduler.put("a", item)
    assert list(scheduler.admit()) == [(0, "a1"), (1, "a2")]
    assert scheduler.order() == ["a3"]


def test_a_client_that_floods_does_not_hold_up_another() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=1)
    for number in range(20):
        scheduler.put("flood", f"f{number}")
    scheduler.put("one", "single")
    assert list(scheduler.admit()) == [(0, "f0")]
    assert scheduler.order()[:3] == ["single", "f1", "f2"]


def test_the_order_told_is_the_order_kept() -> None:
    choose = random.Random(1)
    scheduler: Scheduler[int] = Scheduler(slots=1)
    for item in range(40):
        scheduler.put(choose.choice("abc"), item)
    told = scheduler.order()
    kept = []
    for _ in range(40):
        ((_, item),) = scheduler.admit()
        kept.append(item)
        scheduler.remove(item)
    assert told == kept


def full(*items: str) -> Scheduler[str]:
    scheduler: Scheduler[str] = Scheduler(slots=len(items))
    for item in items:
        scheduler.put(item, item)
    list(scheduler.admit())
    return scheduler


def test_slots_are_dense_again_before_the_next_step() -> None:
    scheduler = full("a", "b", "c")
    scheduler.remove("a")
    assert scheduler.running == ["b", "c"]
    assert list(scheduler.compact()) == [(2, 0)]
    assert scheduler.running == ["c", "b"]
    scheduler.remove("b")
    assert list(scheduler.compact()) == []
    assert scheduler.running == ["c"]


def test_who_waits_takes_a_freed_slot_and_nothing_moves() -> None:
    scheduler = full("a", "b", "c")
    scheduler.remove("b")
    scheduler.put("d", "d")
    assert list(scheduler.admit()) == [(1, "d")]
    assert list(scheduler.compact()) == []
    assert scheduler.running == ["a", "d", "c"]


def test_a_slot_moves_once_however_many_leave() -> None:
    scheduler = full(*"abcdefgh")
    for item in "abcdefg":
        scheduler.remove(item)
    assert list(scheduler.compact()) == [(7, 0)]
    assert scheduler.running == ["h"]


def test_after_any_arrivals_and_departures_item_i_has_slot_i() -> None:
    choose = random.Random(2)
    scheduler: Scheduler[int] = Scheduler(slots=6)
    contents: dict[int, int] = {}  # of each slot, as the runner keeps it
    for item in range(300):
        scheduler.put(choose.choice("abc"), item)
        for running in scheduler.running:
            if choose.random() < 0.25:
                scheduler.remove(running)
        contents.update(scheduler.admit())
        for source, destination in scheduler.compact():
            contents[destination] = contents[source]
        assert scheduler.running == [contents[slot] for slot in range(len(scheduler.running))]


def test_what_is_removed_from_the_waiting_is_not_admitted() -> None:
    scheduler = full("0")
    for item in ("1", "2"):
        scheduler.put("a", item)
    scheduler.put("b", "3")
    for _ in range(2):  # the second time nothing happens
        scheduler.remove("1")
        scheduler.remove("3")
    assert (scheduler.running, scheduler.order()) == (["0"], ["2"])


def test_there_is_a_slot() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scheduler(slots=0)


def test_clear_forgets_everything() -> None:
    scheduler: Scheduler[str] = Scheduler(slots=1)
    for item in "abc":
        scheduler.put(item, item)
    list(scheduler.admit())
    scheduler.clear()
    assert (scheduler.running, scheduler.order()) == ([], [])
