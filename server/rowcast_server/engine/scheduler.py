"""The scheduler: slots and waiting lists. Plain policy; knows neither tensors nor sockets.

Fair between clients, not between jobs: free slots go round robin over the clients that wait, and
each client's pictures go in the order they came. Before each step the slots are made dense (0 …
running-1), so that the runner's tensors are always prefixes of its buffers: waiting pictures take
freed slots, and the slots still free are filled from the end, since a move copies megabytes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Scheduler(Generic[Item]):
    """Dense slots, ``slots`` >= 1 of them, and a fair waiting list of items."""

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, not {slots}")
        self._slots = slots
        self._places: list[Item | None] = []  # None: freed since the last `compact`
        self._waiting: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    @property
    def running(self) -> list[Item]:
        """The items that have slots; after `compact`, item i has slot i."""
        return [item for item in self._places if item is not None]

    def put(self, client: Hashable, item: Item) -> None:
        """Queue an item."""
        self._waiting.setdefault(client, deque()).append(item)

    def admit(self) -> Iterator[tuple[int, Item]]:
        """Give free slots to waiting items, one client after the other: (slot, item)."""
        free = [slot for slot, item in enumerate(self._places) if item is None]
        free += range(len(self._places), self._slots)
        for slot in free:
            if not self._waiting:
                return
            client, items = self._waiting.popitem(last=False)
            item = items.popleft()
            if items:
                self._waiting[client] = items  # to the back of the round
            self._places[slot : slot + 1] = [item]
            yield slot, item

    def compact(self) -> Iterator[tuple[int, int]]:
        """The fewest moves that make the slots dense again: (source, destination)."""
        dense = len(self.running)
        free = (slot for slot in range(dense) if self._places[slot] is None)
        for source in range(dense, len(self._places)):
            if self._places[source] is not None:
                destination = next(free)
                self._places[destination] = self._places[source]
                yield source, destination
        del self._places[dense:]

    def remove(self, item: Item) -> None:
        """Take an item out, if it runs or waits; its slot is for `admit` or `compact` to fill."""
        if item in self._places:
            self._places[self._places.index(item)] = None
        for client, items in self._waiting.items():
            if item in items:
                items.remove(item)
                if not items:
                    del self._waiting[client]
                return

    def clear(self) -> None:
        """Forget everything, running and waiting."""
        self._places.clear()
        self._waiting.clear()

    def order(self) -> list[Item]:
        """The waiting items in the order in which they will get slots."""
        rounds = [list(items) for items in self._waiting.values()]
        longest = max(map(len, rounds), default=0)
        return [items[turn] for turn in range(longest) for items in rounds if turn < len(items)]
