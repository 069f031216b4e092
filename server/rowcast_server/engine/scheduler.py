"""The scheduler: slots and waiting lists. Plain policy; knows neither tensors nor sockets.

Fair between clients, not between jobs: free slots go round robin over the clients that wait, and
each client's pictures go in the order they came. Before each step the slots are made dense (0 …
running-1), so that the runner's tensors are always prefixes of its buffers: waiting pictures take
freed slots, and the slots still free are filled from the end, since a move copies megabytes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import QueueFull

Item = TypeVar("Item")


@dataclass(frozen=True)
class Move:
    """The slot's contents go from ``source`` to ``destination``."""

    source: int
    destination: int


class Scheduler(Generic[Item]):
    """Dense slots and a bounded, fair waiting list of items.

    ``slots`` >= 1 pictures are drawn at once; at most ``queue_limit`` wait.
    """

    def __init__(self, slots: int, queue_limit: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, not {slots}")
        self.slots = slots
        self.queue_limit = queue_limit
        self._places: list[Item | None] = []  # None: freed since the last `compact`
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._waiting_count = 0

    @property
    def running(self) -> list[Item]:
        """The items that have slots; after `compact`, item i has slot i."""
        return [item for item in self._places if item is not None]

    @property
    def waiting_count(self) -> int:
        return self._waiting_count

    def put(self, client: Hashable, item: Item) -> None:
        """Queue an item. Raises QueueFull.

        Items that the next `admit` will take do not count: they come in bursts between two steps.
        """
        if self._waiting_count >= self.queue_limit + self.slots - len(self.running):
            raise QueueFull(f"{self._waiting_count} pictures wait already")
        self._waiting.setdefault(client, deque()).append(item)
        self._waiting_count += 1

    def admit(self) -> Iterator[tuple[int, Item]]:
        """Give free slots to waiting items, one client after the other: (slot, item)."""
        free = [slot for slot, item in enumerate(self._places) if item is None]
        free += range(len(self._places), self.slots)
        for slot in free:
            if not self._waiting:
                return
            client, items = self._waiting.popitem(last=False)
            item = items.popleft()
            self._waiting_count -= 1
            if items:
                self._waiting[client] = items  # to the back of the round
            self._places[slot : slot + 1] = [item]
            yield slot, item

    def compact(self) -> Iterator[Move]:
        """The fewest moves that make the slots dense again."""
        dense = len(self.running)
        free = (slot for slot in range(dense) if self._places[slot] is None)
        for source in range(dense, len(self._places)):
            if self._places[source] is not None:
                move = Move(source, destination=next(free))
                self._places[move.destination] = self._places[source]
                yield move
        del self._places[dense:]

    def slot_of(self, item: Item) -> int | None:
        """The slot of an item; None if it has none."""
        return self._places.index(item) if item in self._places else None

    def release(self, slot: int) -> None:
        """Free a slot, for `admit` or `compact` to fill."""
        if not 0 <= slot < len(self._places) or self._places[slot] is None:
            raise ValueError(f"slot {slot} is not running")
        self._places[slot] = None

    def withdraw(self, item: Item) -> bool:
        """Take an item out of the waiting list; False if it does not wait."""
        for client, items in self._waiting.items():
            if item in items:
                items.remove(item)
                self._waiting_count -= 1
                if not items:
                    del self._waiting[client]
                return True
        return False

    def clear(self) -> None:
        """Forget everything, running and waiting."""
        self._places.clear()
        self._waiting.clear()
        self._waiting_count = 0

    def order(self) -> list[Item]:
        """The waiting items in the order in which they will get slots."""
        rounds = [list(items) for items in self._waiting.values()]
        longest = max(map(len, rounds), default=0)
        return [items[turn] for turn in range(longest) for items in rounds if turn < len(items)]
