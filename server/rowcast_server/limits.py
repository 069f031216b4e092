"""Token buckets: so many at once, and so many a minute."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

MAX_BUCKETS: Final = 65_536  # full ones are forgotten first, then the oldest

Clock = Callable[[], float]  # seconds


class Bucket:
    """``burst`` at once, refilled at ``per_minute``; begins full."""

    __slots__ = ("_burst", "_left", "_rate", "_when")

    def __init__(self, per_minute: float, burst: float, now: float) -> None:
        self._rate = per_minute / 60.0
        self._burst = self._left = float(burst)
        self._when = now

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds until so much is there: 0 now, and never longer than until it is full."""
        self._left = min(self._burst, self._left + (now - self._when) * self._rate)
        self._when = now
        return max(0.0, (min(amount, self._burst) - self._left) / self._rate)

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take it, and return 0; or take nothing, and return the seconds to wait."""
        wait = self.wait(now, amount)
        if not wait:
            self._left -= amount  # below nothing where it is more than a burst
        return wait

    def is_full(self, now: float) -> bool:
        return self.wait(now, self._burst) == 0.0


class Buckets:
    """A bucket for each client, made at first use."""

    def __init__(self, per_minute: float, burst: float, clock: Clock) -> None:
        self._per_minute = per_minute
        self._burst = burst
        self._clock = clock
        self._buckets: dict[Hashable, Bucket] = {}

    def wait(self, client: Hashable) -> float:
        """As `Bucket.wait`, for one."""
        bucket = self._buckets.get(client)
        return 0.0 if bucket is None else bucket.wait(self._clock())

    def take(self, client: Hashable) -> float:
        """As `Bucket.take`, of one."""
        now = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[client] = Bucket(self._per_minute, self._burst, now)
        return bucket.take(now)

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < MAX_BUCKETS:
            return
        full = [client for client, bucket in self._buckets.items() if bucket.is_full(now)]
        for client in full or [next(iter(self._buckets))]:
            del self._buckets[client]
