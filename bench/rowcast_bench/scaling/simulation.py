"""A cluster simulated: arrivals, queues, slots, replicas and their deaths, event by event.

Pictures arrive at random (Poisson), each goes to the less loaded of two replicas that are drawn at
random, waits there for a slot, and is drawn token by token with the others that have one: a step
draws one token of each, and takes longer the more there are. A replica that dies leaves its
pictures to the others, which draw on from the whole rows that there are, and comes back later.

All randomness is of one seed. Times are in seconds.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

WINDOW: Final = 16  # tokens of a prefix that one step takes


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step by the number of pictures in it; between those that were measured, on a
    straight line."""

    pictures: tuple[int, ...]
    seconds: tuple[float, ...]

    def of(self, pictures: int) -> float:
        after = bisect_left(self.pictures, pictures)
        if after == 0:
            return self.seconds[0]
        if after == len(self.pictures):
            return self.seconds[-1] * pictures / self.pictures[-1]
        low, high = self.pictures[after - 1], self.pictures[after]
        share = (pictures - low) / (high - low)
        return self.seconds[after - 1] + share * (self.seconds[after] - self.seconds[after - 1])


@dataclass(frozen=True)
class Plan:
    """A cluster, and what is asked of it."""

    replicas: int
    slots: int
    steps: StepTimes
    rows: int
    cols: int
    pictures_per_second: float
    seconds: float  # of arrivals
    warm_up: float = 0.0  # of them not counted
    death_every: float | None = None  # of each replica, in the mean
    back_after: float = 10.0  # a replica that died
    noticed_after: float = 0.5  # a death


@dataclass
class Found:
    """Of every picture that was counted: from its request to its slot, to its first row, to its
    end; and the pauses of those whose replica died."""

    waited: list[float] = field(default_factory=list)
    first_row: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    arrived: int = 0
    ended: int = 0
    deaths: int = 0


@dataclass(eq=False)
class _Picture:
    arrived: float
    counts: bool
    rows: int = 0  # that there are
    lost_at: float | None = None
    begun: bool = False


@dataclass(eq=False)
class _Drawing:
    """A picture in a slot: ``first`` is the step at which it began, ``given`` rows it had."""

    picture: _Picture
    first: float
    given: int


class _Replica:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.alive = True
        self.version = 0  # of its next event: what was planned before is void
        self.queue: deque[_Picture] = deque()
        self.drawing: dict[int, _Drawing] = {}
        self._ends: list[tuple[float, int, bool]] = []  # step, number, True: the first row
        self._numbers = count()
        self._steps = 0.0  # so far
        self._at = 0.0

    @property
    def load(self) -> int:
        return len(self.queue) + len(self.drawing)

    def advance(self, now: float) -> None:
        if self.drawing:
            self._steps += (now - self._at) / self.plan.steps.of(len(self.drawing))
        self._at = now

    def admit(self, now: float, found: Found) -> None:
        """Give free slots to those that wait."""
        plan = self.plan
        while self.queue and len(self.drawing) < plan.slots:
            picture = self.queue.popleft()
            if picture.lost_at is not None:
                found.pauses.append(now - picture.lost_at)
                picture.lost_at = None
            elif picture.counts and not picture.begun:
                found.waited.append(now - picture.arrived)
            number = next(self._numbers)
            self.drawing[number] = _Drawing(picture, self._steps, picture.rows)
            prefill = picture.rows * plan.cols / WINDOW
            left = prefill + (plan.rows - picture.rows) * plan.cols
            heapq.heappush(self._ends, (self._steps + left, number, False))
            if not picture.begun:
                heapq.heappush(self._ends, (self._steps + plan.cols, number, True))
            picture.begun = True

    def next_end(self) -> float | None:
        """When the next first row, or picture, is drawn."""
        if not self._ends:
            return None
        return self._at + max(0.0, self._ends[0][0] - self._steps) * self.plan.steps.of(
            len(self.drawing)
        )

    def end(self, now: float, found: Found) -> None:
        """What is drawn by now."""
        while self._ends and self._ends[0][0] <= self._steps + 1e-9:
            _, number, is_first = heapq.heappop(self._ends)
            picture = self.drawing[number].picture
            since = now - picture.arrived
            if is_first:
                if picture.counts:
                    found.first_row.append(since)
                continue
            del self.drawing[number]
            found.ended += 1
            if picture.counts:
                found.whole.append(since)

    def die(self, now: float) -> list[_Picture]:
        """What it leaves to others."""
        plan = self.plan
        for drawing in self.drawing.values():
            drawn = self._steps - drawing.first - drawing.given * plan.cols / WINDOW
            picture = drawing.picture
            picture.rows = drawing.given + max(0, int(drawn // plan.cols))
            picture.rows = min(picture.rows, plan.rows - 1)
            picture.lost_at = now
        left = [drawing.picture for drawing in self.drawing.values()] + list(self.queue)
        self.drawing.clear()
        self._ends.clear()
        self.queue.clear()
        self.alive = False
        return left


def simulate(plan: Plan, seed: int = 0) -> Found:
    """Run a plan until its last picture has ended."""
    chance = random.Random(seed)
    replicas = [_Replica(plan) for _ in range(plan.replicas)]
    events: list[tuple[float, int, str, _Replica | None, object]] = []
    order = count()
    found = Found()

    def at(time: float, what: str, replica: _Replica | None = None, about: object = None) -> None:
        heapq.heappush(events, (time, next(order), what, replica, about))

    def look(replica: _Replica, now: float) -> None:
        """Its state has changed: give slots, and plan its next event anew."""
        replica.admit(now, found)
        replica.version += 1
        due = replica.next_end()
        if due is not None:
            at(due, "end", replica, replica.version)

    def send(picture: _Picture, now: float) -> None:
        alive = [each for each in _two(replicas, chance) if each.alive]
        alive = alive or [each for each in replicas if each.alive]
        if not alive:
            at(now + plan.noticed_after, "again", None, picture)
            return
        chosen = min(alive, key=lambda each: each.load)
        chosen.advance(now)
        chosen.queue.append(picture)
        look(chosen, now)

    at(chance.expovariate(plan.pictures_per_second), "arrive")
    if plan.death_every is not None:
        for each in replicas:
            at(chance.expovariate(1 / plan.death_every), "die", each)
    while events:
        now, _, what, replica, about = heapq.heappop(events)
        if what == "arrive":
            if now < plan.seconds:
                found.arrived += 1
                send(_Picture(now, now >= plan.warm_up), now)
                at(now + chance.expovariate(plan.pictures_per_second), "arrive")
        elif what == "again":
            assert isinstance(about, _Picture)
            send(about, now)
        elif what == "end":
            assert replica is not None
            if about == replica.version:
                replica.advance(now)
                replica.end(now, found)
                look(replica, now)
        elif what == "die":
            assert replica is not None
            if now < plan.seconds:
                found.deaths += 1
                replica.advance(now)
                for picture in replica.die(now):
                    at(now + plan.noticed_after, "again", None, picture)
                replica.version += 1
                at(now + plan.back_after, "back", replica)
        else:
            assert replica is not None
            replica.alive = True
            replica.advance(now)
            if plan.death_every is not None:
                at(now + chance.expovariate(1 / plan.death_every), "die", replica)
    return found


def _two(replicas: Sequence[_Replica], chance: random.Random) -> Sequence[_Replica]:
    """Two of them at random, as Ray Serve's router chooses."""
    return replicas if len(replicas) <= 2 else chance.sample(replicas, 2)
