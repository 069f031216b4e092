"""Who draws next: slots and waiting lists. Plain policy; knows neither tensors nor sockets.

Fair between clients, not between jobs: free slots go round robin over the clients that wait, and
each client's pictures go in the order they came. Slots are kept dense (0 … running-1), so that the
runner's tensors are always prefixes of its buffers: when a slot frees, the last one moves into it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


class QueueFull(Exception):
    """The waiting list is at its bound; try again later."""


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
        self.running: list[Item] = []
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._waiting_count = 0

    @property
    def waiting_count(self) -> int:
        return self._waiting_count

    def put(self, client: Hashable, item: Item) -> None:
        """Queue an item. Raises QueueFull.

        What the next `admit` will take does not count: items come in bursts between two steps.
        """
        if self._waiting_count >= self.queue_limit + self.slots - len(self.running):
            raise QueueFull(f"{self._waiting_count} pictures wait already")
        self._waiting.setdefault(client, deque()).append(item)
        self._waiting_count += 1

    def admit(self) -> Iterator[tuple[int, Item]]:
        """Give free slots to waiting items, one client after the other: (slot, item)."""
        while len(self.running) < self.slots and self._waiting:
            client, items = self._waiting.popitem(last=False)
            item = items.popleft()
            self._waiting_count -= 1
            if items:
                self._waiting[client] = items  # to the back of the round
            self.running.append(item)
            yield len(self.running) - 1, item

    def release(self, slot: int) -> Move | None:
        """Free a slot; returns the move that keeps the slots dense, if one is needed."""
        last = len(self.running) - 1
        if not 0 <= slot <= last:
            raise ValueError(f"slot {slot} is not running")
        item = self.running.pop()
        if slot == last:
            return None
        self.running[slot] = item
        return Move(source=last, destination=slot)

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
        self.running.clear()
        self._waiting.clear()
        self._waiting_count = 0

    def order(self) -> list[Item]:
        """The waiting items in the order in which they will get slots."""
        rounds = [list(items) for items in self._waiting.values()]
        longest = max(map(len, rounds), default=0)
        return [items[turn] for turn in range(longest) for items in rounds if turn < len(items)]
