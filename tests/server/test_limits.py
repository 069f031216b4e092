"""Token buckets: so many at once, so many a minute, and how long to wait."""

from __future__ import annotations

import pytest
from rowcast_server import limits
from rowcast_server.limits import Bucket, Buckets

from tests.support.fakes import FakeClock


def test_so_many_at_once_and_then_as_fast_as_it_fills() -> None:
    bucket = Bucket(per_minute=60, burst=3, now=0)
    assert [bucket.take(0.0) for _ in range(4)] == [0, 0, 0, 1]
    assert bucket.take(0.5) == 0.5, "a refusal takes nothing"
    assert bucket.take(1.0) == 0
    assert bucket.take(1.0) == 1


def test_it_never_holds_more_than_a_burst() -> None:
    bucket = Bucket(per_minute=60, burst=3, now=0)
    assert [bucket.take(1_000_000.0) for _ in range(4)] == [0, 0, 0, 1]


def test_a_wait_takes_nothing_and_ends_when_it_says() -> None:
    bucket = Bucket(per_minute=30, burst=2, now=10)
    assert bucket.wait(10, 2) == 0
    assert bucket.take(10, 2) == 0
    assert bucket.wait(10) == bucket.wait(10) == 2
    assert bucket.wait(10, 2) == 4
    assert bucket.take(11.9) == pytest.approx(0.1)
    assert bucket.take(12) == 0


def test_more_than_a_burst_waits_for_a_full_bucket_and_is_paid_off() -> None:
    bucket = Bucket(per_minute=60, burst=3, now=0)
    assert bucket.take(0, 5) == 0
    assert bucket.take(0) == 3, "two are owed"
    assert bucket.wait(0, 100) == 5, "never longer than until it is full"
    assert bucket.take(5, 5) == 0


def test_it_is_full_at_first_and_again_later() -> None:
    bucket = Bucket(per_minute=60, burst=2, now=0)
    assert bucket.is_full(0)
    bucket.take(0)
    assert not bucket.is_full(0.9)
    assert bucket.is_full(1)


def test_every_client_has_its_own() -> None:
    clock = FakeClock()
    buckets = Buckets(60, 1, clock.time)
    assert buckets.wait("a") == 0
    assert [buckets.take("a"), buckets.take("a"), buckets.take("b")] == [0, 1, 0]
    assert (buckets.wait("a"), buckets.wait("c")) == (1, 0)
    clock.advance(1)
    assert buckets.take("a") == 0


def test_there_are_so_many_and_full_ones_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 3)
    clock = FakeClock()
    buckets = Buckets(60, 2, clock.time)
    for client in "ab":
        buckets.take(client)
    clock.advance(1)  # both are full again
    buckets.take("b")
    buckets.take("c")
    buckets.take("d")
    assert sorted(map(str, buckets._buckets)) == ["b", "c", "d"]
    buckets.take("e")  # none is full: the oldest goes
    assert sorted(map(str, buckets._buckets)) == ["c", "d", "e"]


def test_a_flood_of_clients_does_not_grow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 100)
    buckets = Buckets(1, 1, FakeClock().time)
    for client in range(10_000):
        assert buckets.take(client) == 0
        assert len(buckets._buckets) <= 100
