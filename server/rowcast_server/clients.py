"""Who asks, and how much of it: tokens, requests a minute, failures a minute.

A client is a token's subject where tokens are asked for, else an address. Failures are counted by
address in any case: who guesses has no subject.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from rowcast.messages import CloseCode, ErrorCode

from .access import Access, Grant
from .config import ServerConfig
from .errors import BadToken, CloseConnection, Refused
from .limits import Buckets, Clock

FAILURES_AT_ONCE: Final = 4  # minutes' worth: a lost server has its clients ask for all they had


class RateLimited(CloseConnection):
    """Too many; asking again makes sense after ``retry_after`` seconds."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(CloseCode.RATE_LIMITED, reason)
        self.retry_after = math.ceil(retry_after)


@dataclass(frozen=True)
class Visitor:
    """Who sent a request: ``address`` for limits, ``host`` as the request names this server, and
    what the request's Authorization field granted, None without one."""

    address: str
    host: str | None = None
    grant: Grant | None = None

    def client(self, grant: Grant) -> Hashable:
        """Whose shares what this visitor asks for counts to."""
        return self.address if grant.subject is None else ("subject", grant.subject)


class Clients:
    """The rates of a server, and its tokens. Times come from ``clock``, in seconds."""

    def __init__(self, config: ServerConfig, access: Access, clock: Clock) -> None:
        self.access = access
        self.clock = clock
        self.messages_per_minute = config.messages_per_minute
        starts, failures = config.starts_per_minute, config.failures_per_minute
        self._starts = Buckets(starts, starts, clock)
        self._failures = Buckets(failures, failures * FAILURES_AT_ONCE, clock)

    def grant(self, token: str | None, address: str) -> Grant:
        """What this token gives. Raises BadToken, ExpiredToken or RateLimited."""
        self.check_failures(address)
        try:
            return self.access.grant(token)
        except BadToken:
            self._failures.take(address)
            raise

    def missed(self, address: str) -> None:
        """A view key was of no picture. Raises RateLimited."""
        self.check_failures(address)
        self._failures.take(address)

    def started(self, client: Hashable) -> None:
        """A request came. Raises Refused (busy) where it is too many."""
        if wait := self._starts.take(client):
            raise Refused(
                ErrorCode.BUSY,
                "this client asks for pictures too often",
                math.ceil(wait * 1000),
            )

    def check_failures(self, address: str) -> None:
        """Raises RateLimited where too many tokens or view keys were wrong."""
        if wait := self._failures.wait(address):
            raise RateLimited("too many tokens or view keys from here were wrong", wait)
