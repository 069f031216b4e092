"""Closed connections: what they mean to a caller, and whether to come back."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from rowcast.errors import ConnectionFailed, ConnectionLost, ProtocolError
from rowcast.messages import (
    CloseCode,
    Done,
    DoneReason,
    Queued,
    encode,
    may_reconnect,
)
from rowcast.transport import Patience, closed_text

from tests.support.client.sessions import started
from tests.support.fake_server import (
    accepted,
)


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        (None, True),
        (1006, True),
        (1001, True),
        (1011, True),
        (1012, True),
        (1000, False),
        (1009, False),
        (4400, False),
        (4403, False),
        (4413, False),
        (4444, False),
        (4501, True),
        (4508, True),
        (4555, True),
    ],
)
def test_close_codes_say_whether_to_come_back(code: int | None, retry: bool) -> None:
    assert may_reconnect(code) is retry


def test_close_codes_are_told_in_words() -> None:
    assert "token" in closed_text(4403, "")
    assert closed_text(None, "") == "the connection broke"
    assert closed_text(4400, "no array") == "the server closed it (close code 4400: no array)"


def test_progress_grows_with_rows_and_ends_alone() -> None:
    session, _ = started()
    before = session.progress
    session.receive(accepted())
    session.receive(encode(Queued(0, 0)))
    session.receive(encode(Done(0, 0, 0, 1, DoneReason.CANCELLED)))
    assert session.progress == before + 1


def test_waits_grow_until_something_new_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each attempt opens a link, that then breaks: R-74."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)  # each bound is seen
    patience = Patience(30.0, first_wait=0.25)

    def waited(progress: int) -> float:
        assert patience.retries(progress)  # a link broke
        return patience.wait()

    assert [waited(0) for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert waited(1) == 0.25  # a row had come
    assert waited(1) == 0.5
    now = 29.0
    assert waited(1) == 1.0  # no longer than it is worth to wait
    now = 30.0
    assert patience.retries(1) is None
    now = 61.0  # the link held for a while
    assert waited(1) == 0.25


def test_who_cancels_or_presses_ctrl_c_wants_no_other_attempt() -> None:
    patience = Patience(30.0)
    assert patience.covers(ConnectionFailed("refused"))
    assert patience.covers(ConnectionLost("broke", 1001))
    assert not patience.covers(ConnectionFailed("of another version", CloseCode.VERSION))
    for error in (ProtocolError("foreign"), asyncio.CancelledError(), KeyboardInterrupt()):
        assert not patience.covers(error)
