"""Authorisation: shared tokens, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Callable


def token_check(tokens: frozenset[str]) -> Callable[[str | None], bool]:
    """A check of the token in `hello`; without tokens every client is admitted."""

    def admitted(token: str | None) -> bool:
        if not tokens:
            return True
        given = (token or "").encode()
        # Every token is compared, so that the time tells nothing about which is near.
        return sum(hmac.compare_digest(given, known.encode()) for known in tokens) > 0

    return admitted
