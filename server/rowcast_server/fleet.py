"""Data parallelism: several engines of one model, one a device; each picture goes to the emptiest.

A picture's ids depend on its request alone, so it does not matter which engine draws it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .bridge import Deliver, EngineBridge
from .engine.request import PictureRequest


class Fleet:
    """The bridges as one `jobs.Drawer`. For the event loop's thread."""

    def __init__(self, bridges: Sequence[EngineBridge]) -> None:
        self.bridges = bridges

    def start(self, deliver: Deliver) -> None:
        """Start every engine; ``deliver`` is called in the running loop with their events."""
        for bridge in self.bridges:
            bridge.start(deliver)

    @property
    def room(self) -> tuple[int, int]:
        """Slots, and places in the queue, that are free on all devices together."""
        rooms = [bridge.room for bridge in self.bridges]
        return sum(slots for slots, _ in rooms), sum(places for _, places in rooms)

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        """Queue a picture where the fewest are drawn or wait. Raises Refused (busy)."""
        emptiest = min(self.bridges, key=lambda bridge: len(bridge.pictures))
        emptiest.submit(picture, request, client)

    def cancel(self, picture: int) -> None:
        """End a picture, wherever it is; nothing happens to one that has ended."""
        for bridge in self.bridges:
            if picture in bridge.pictures:
                bridge.cancel(picture)

    async def close(self) -> None:
        """Stop every engine after the step in hand."""
        for bridge in self.bridges:
            await bridge.close()
