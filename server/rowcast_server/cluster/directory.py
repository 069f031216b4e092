"""The directory of a cluster: which gateway has which picture, and how it is so far.

One for all gateways. A gateway publishes what changes of its pictures, follows pictures of others,
and listens: every call of `news` is its sign of life. What a lost gateway had is kept until
somebody claims it, or for the grace time. All of it can be lost: gateways publish anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rowcast.messages import DoneReason

from ..admission import Order
from ..errors import Refused
from .seam import Name, ReplicaState

NEWS_SECONDS: Final = 0.5  # a gateway hears at least so often
LOST_SECONDS: Final = 3.0  # of silence, after which a gateway is lost
REPLICA_SECONDS: Final = 3.0  # of silence, after which a replica does not count


@dataclass
class Shared:
    """A picture as gateways tell each other of it; ``ids`` are as on the wire."""

    name: Name
    order: Order
    client: Hashable
    owner: str | None
    ids: bytes
    place: int | None = None
    reason: DoneReason | Refused | None = None


@dataclass(frozen=True)
class Opened:
    """A gateway has this picture drawn, from now on or again."""

    picture: Shared


@dataclass(frozen=True)
class Placed:
    name: Name
    place: int | None


@dataclass(frozen=True)
class Grown:
    name: Name
    first_row: int
    ids: bytes


@dataclass(frozen=True)
class Ended:
    name: Name
    reason: DoneReason | Refused


@dataclass(frozen=True)
class Forgotten:
    """Nobody can watch it any more."""

    name: Name


@dataclass(frozen=True)
class Unfollowed:
    """Somebody elsewhere follows it no longer; ``cancelled``: its owner ended it there."""

    name: Name
    cancelled: bool = False


@dataclass(frozen=True)
class Followed:
    """Somebody elsewhere follows a picture of this gateway."""

    name: Name


@dataclass(frozen=True)
class Orphaned:
    """The gateway of a followed picture is lost."""

    name: Name


Change = Opened | Placed | Grown | Ended | Forgotten | Unfollowed  # a gateway publishes
Notice = Placed | Grown | Ended | Followed | Unfollowed | Orphaned  # a gateway hears


@dataclass(frozen=True)
class Beat:
    """A gateway's sign of life: pictures that are drawn for it or wait, by client."""

    taken: Mapping[Hashable, int]


@dataclass(frozen=True)
class News:
    """What a gateway hears. ``is_known`` is False where it has to publish all that it has."""

    is_known: bool
    notices: list[Notice]
    taken: Mapping[Hashable, int]  # by client, of all other gateways
    replicas: tuple[ReplicaState, ...]


@dataclass(eq=False)
class _Gateway:
    heard: float
    notices: list[Notice] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    taken: Mapping[Hashable, int] = field(default_factory=dict)

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.changed.set()


@dataclass(eq=False)
class _Entry:
    picture: Shared
    gateway: str | None  # None: it is lost
    since: float  # of its end, or of the loss of its gateway
    followers: set[str] = field(default_factory=set)


class Directory:
    """All methods are for one event loop. ``grace`` and ``keep`` are a gateway's, in seconds."""

    def __init__(
        self, grace: float, keep: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._grace = grace
        self._keep = keep
        self._clock = clock
        self._gateways: dict[str, _Gateway] = {}
        self._entries: dict[Name, _Entry] = {}
        self._replicas: dict[str, tuple[float, ReplicaState]] = {}

    async def report(self, replica: ReplicaState) -> None:
        """A replica tells of itself."""
        self._replicas[replica.name] = self._clock(), replica

    async def news(self, gateway: str, beat: Beat) -> News:
        """What is new for a gateway; after `NEWS_SECONDS` also if nothing is."""
        is_known = gateway in self._gateways
        me = self._gateways.setdefault(gateway, _Gateway(self._clock()))
        me.heard, me.taken = self._clock(), beat.taken
        self._sweep()
        if is_known and not me.notices:
            try:
                async with asyncio.timeout(NEWS_SECONDS):
                    await me.changed.wait()
            except TimeoutError:
                pass
        me.changed.clear()
        notices, me.notices = me.notices, []
        others: Counter[Hashable] = Counter()
        for name, other in self._gateways.items():
            if name != gateway:
                others.update(other.taken)
        alive = tuple(state for _, state in self._replicas.values())
        return News(is_known, notices, dict(others), alive)

    async def publish(self, gateway: str, changes: Iterable[Change]) -> None:
        """What has become of a gateway's pictures, in order."""
        for change in changes:
            if isinstance(change, Opened):
                self._open(gateway, change.picture)
                continue
            entry = self._entries.get(change.name)
            if entry is None:
                continue
            if isinstance(change, Unfollowed):
                self._unfollow(gateway, entry, change)
            elif isinstance(change, Forgotten):
                if entry.gateway == gateway:
                    del self._entries[change.name]
            elif entry.gateway == gateway:  # else it was lost, and another draws on
                self._apply(entry, change)

    async def look_up(self, gateway: str, name: Name) -> tuple[Shared, bool] | None:
        """A picture that ``gateway`` follows from now on, and whether its own gateway is lost; None
        where nobody else has it."""
        self._sweep()
        entry = self._entries.get(name)
        if entry is None or entry.gateway == gateway:
            return None
        picture = entry.picture
        if picture.reason is None:
            entry.followers.add(gateway)
            owner = self._gateways.get(entry.gateway or "")
            if owner is not None:
                owner.tell(Followed(name))
        return picture, entry.gateway is None

    async def claim(self, gateway: str, name: Name) -> Shared | None:
        """Take over a picture of a lost gateway, as it is: one alone gets it."""
        entry = self._entries.get(name)
        if entry is None or entry.gateway is not None or entry.picture.reason is not None:
            return None
        entry.gateway = gateway
        entry.followers.discard(gateway)
        return entry.picture

    async def leave(self, gateway: str) -> None:
        """A gateway stops: what it had is lost to it at once."""
        self._lose(gateway)

    def _open(self, gateway: str, picture: Shared) -> None:
        known = self._entries.get(picture.name)
        followers = known.followers if known is not None else set()
        if known is not None and len(known.picture.ids) > len(picture.ids):
            picture.ids = known.picture.ids  # rows of the same picture
        self._entries[picture.name] = _Entry(picture, gateway, self._clock(), followers)
        followers.discard(gateway)
        for follower in followers:
            self._tell(follower, Grown(picture.name, 0, picture.ids))
            self._tell(gateway, Followed(picture.name))

    def _apply(self, entry: _Entry, change: Placed | Grown | Ended) -> None:
        picture = entry.picture
        match change:
            case Placed():
                picture.place = change.place
            case Grown():
                known = len(picture.ids) - change.first_row * picture.order.row_bytes
                picture.ids += change.ids[max(0, known) :]
            case Ended():
                picture.reason, entry.since = change.reason, self._clock()
        for follower in entry.followers:
            self._tell(follower, change)
        if picture.reason is not None:
            entry.followers.clear()

    def _unfollow(self, gateway: str, entry: _Entry, change: Unfollowed) -> None:
        entry.followers.discard(gateway)
        if entry.gateway is not None and (change.cancelled or not entry.followers):
            self._tell(entry.gateway, change)

    def _tell(self, gateway: str, notice: Notice) -> None:
        if gateway in self._gateways:
            self._gateways[gateway].tell(notice)

    def _sweep(self) -> None:
        """Forget what is silent for too long."""
        now = self._clock()
        for name, (heard, _) in list(self._replicas.items()):
            if now - heard > REPLICA_SECONDS:
                del self._replicas[name]
        for name, gateway in list(self._gateways.items()):
            if now - gateway.heard > LOST_SECONDS:
                self._lose(name)
        for entry in list(self._entries.values()):
            waits = entry.gateway is None and not entry.followers
            ended = entry.picture.reason is not None
            if (ended or waits) and now - entry.since > (self._keep if ended else self._grace):
                del self._entries[entry.picture.name]

    def _lose(self, gateway: str) -> None:
        self._gateways.pop(gateway, None)
        for entry in self._entries.values():
            entry.followers.discard(gateway)
            if entry.gateway == gateway:
                entry.gateway = None
                if entry.picture.reason is None:
                    entry.since = self._clock()
                    for follower in entry.followers:
                        self._tell(follower, Orphaned(entry.picture.name))
