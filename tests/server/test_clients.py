"""Who asks, and how much of it: by a token's subject, or by address."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from rowcast.messages import CloseCode
from rowcast_server.access import Access, Grant, sign_token
from rowcast_server.clients import Clients, RateLimited, Visitor
from rowcast_server.config import ServerConfig
from rowcast_server.errors import BadToken, ExpiredToken, Refused

from tests.support.fakes import FakeClock

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def clients(clock: FakeClock, *tokens: str, **settings: Any) -> Clients:
    return Clients(ServerConfig(**settings), Access(tokens), clock.time)


def test_a_client_is_a_subject_else_an_address() -> None:
    here, there = Visitor(HERE), Visitor(THERE)
    nobody, alice = Grant(None), Grant("alice")
    assert here.client(nobody) != there.client(nobody)
    assert here.client(alice) == there.client(alice) != here.client(Grant("bob"))
    assert Visitor("alice").client(nobody) != here.client(alice), "a subject is no address"


def test_so_many_requests_a_minute(clock: FakeClock) -> None:
    asked = clients(clock, starts_per_minute=3)
    for _ in range(3):
        asked.started("a")
    with pytest.raises(Refused) as refused:
        asked.started("a")
    assert (refused.value.code, refused.value.retry_ms) == ("busy", 20_000)
    asked.started("b")
    clock.advance(20)
    asked.started("a")


def test_who_guesses_tokens_is_held_up_by_address_and_others_are_not(clock: FakeClock) -> None:
    asked = clients(clock, "right", failures_per_minute=2)
    for _ in range(8):  # four minutes' worth
        with pytest.raises(BadToken):
            asked.grant("wrong", HERE)
    for token in ("wrong", "right", None):
        with pytest.raises(RateLimited) as limited:
            asked.grant(token, HERE)
        assert limited.value.code == CloseCode.RATE_LIMITED
        assert limited.value.retry_after == 30
    assert asked.grant("right", THERE).subject
    clock.advance(30)
    assert asked.grant("right", HERE).subject


def test_who_guesses_view_keys_counts_for_the_same(clock: FakeClock) -> None:
    asked = clients(clock, "right", failures_per_minute=1)
    for _ in range(2):
        asked.missed(HERE)
        with pytest.raises(BadToken):
            asked.grant("wrong", HERE)
    with pytest.raises(RateLimited):
        asked.missed(HERE)
    with pytest.raises(RateLimited):
        asked.grant("right", HERE)
    asked.missed(THERE)


def test_what_is_right_costs_nothing_nor_does_what_has_expired(
    clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("s" * 32)
    settings = ServerConfig(failures_per_minute=1)
    asked = Clients(settings, Access({"right"}, path), clock.time)
    old = sign_token(b"s" * 32, "alice", time.time() - 60)
    for _ in range(100):
        assert asked.grant("right", HERE).subject
        with pytest.raises(ExpiredToken):
            asked.grant(old, HERE)
