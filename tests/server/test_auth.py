"""Tokens: who is admitted, and that no near miss is."""

from __future__ import annotations

import pytest
from rowcast_server.auth import token_check


@pytest.mark.parametrize("token", [None, "", "anything", "ü" * 1_024])
def test_without_tokens_everybody_is_admitted(token: str | None) -> None:
    assert token_check(frozenset())(token)


@pytest.mark.parametrize("token", ["first", "zweiter-Schlüssel", "3"])
def test_every_known_token_is_admitted(token: str) -> None:
    assert token_check(frozenset({"first", "zweiter-Schlüssel", "3"}))(token)


@pytest.mark.parametrize(
    "token", [None, "", " ", "Secret", "secre", "secrets", "secret ", "secret\x00", "ſecret", "x"]
)
def test_nothing_else_is(token: str | None) -> None:
    assert not token_check(frozenset({"secret", "other"}))(token)


def test_every_token_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time must not tell which token is near."""
    compared: list[bytes] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr("rowcast_server.auth.hmac.compare_digest", compare)
    admitted = token_check(frozenset({"a", "b", "c"}))
    for token in ("a", "c", "x"):
        compared.clear()
        admitted(token)
        assert sorted(compared) == [b"a", b"b", b"c"]
