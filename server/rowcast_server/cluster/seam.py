"""The seam between a gateway and what draws for it: submit, cancel, and events of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from rowcast.messages import DoneReason

from ..engine.request import EngineEvent, PictureRequest
from ..picture import Picture

Name = tuple[bytes, int]  # of a picture: view key, image
Deliver = Callable[[list[EngineEvent]], None]


@dataclass(frozen=True)
class ReplicaState:
    """A replica as it last told of itself: pictures drawn and waiting, of so many slots and places
    in its queue."""

    name: str
    revision: str
    drawing: int
    waiting: int
    slots: int
    places: int


class Drawer(Protocol):
    """What draws, as the book sees it: this process' fleet (bridge.py), or a cluster's replicas
    (remote.py)."""

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        """Raises Refused when the queue is full."""

    def cancel(self, picture: int) -> None: ...

    @property
    def room(self) -> tuple[int, int]:
        """Slots, and places in the queue, that are free."""


class Elsewhere(Protocol):
    """The other gateways of a cluster as the book sees them (others.py)."""

    def opened(self, picture: Picture) -> None:
        """A picture is drawn for this gateway."""

    def placed(self, picture: Picture) -> None: ...

    def grown(self, picture: Picture, first_row: int) -> None: ...

    def ended(self, picture: Picture) -> None: ...

    def forgot(self, picture: Picture) -> None: ...

    def left(self, picture: Picture, reason: DoneReason) -> None:
        """A mirror has ended here."""

    def taken(self, client: Hashable) -> int:
        """Pictures of this client that are drawn for others."""

    def seek(self, name: tuple[bytes, int], then: Callable[[], None]) -> None:
        """Ask who has a picture, and `mirror` it; ``then`` is called in any case."""


class Capacity(Protocol):
    """How much can be drawn, and by whom."""

    @property
    def capacity(self) -> tuple[int, int]:
        """Slots, and places in the queue, at the moment."""

    @property
    def replicas(self) -> tuple[ReplicaState, ...]:
        """Those of a cluster; none where this process draws."""


class Engines(Drawer, Capacity, Protocol):
    """What draws, as the whole server sees it."""

    def start(self, deliver: Deliver) -> None:
        """``deliver`` is called in the running loop with what is drawn: of each picture in order,
        every row once, and one end."""

    async def close(self) -> None: ...
