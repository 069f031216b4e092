"""The bridge between the event loop and an engine's thread: commands go in, events come out.

A fleet is the bridges of one server.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from rowcast.messages import ErrorCode

from .cluster.seam import Deliver, ReplicaState
from .engine.engine import Engine
from .engine.request import Ending, EngineEvent, PictureEnded, PictureRequest
from .errors import BUSY_RETRY_MS, Refused
from .metrics import Metrics

logger = logging.getLogger(__name__)

FAILURE = "the engine failed; the server's log says why"
GIVE_WAY_SECONDS = 0.005  # at most, for what was drawn to be sent

Command = Callable[[], list[EngineEvent]]


class EngineBridge:
    """Owns the thread that owns the engine. All methods are for the event loop's thread.

    ``slots`` pictures are drawn and ``places`` more may wait; ``pictures`` are those that do. With
    ``gives_way``, for an engine that keeps every core busy, a step begins once the tasks that the
    one before woke have run: their bytes would else wait for a core.
    """

    def __init__(
        self,
        engine: Engine,
        slots: int,
        places: int,
        gives_way: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics or Metrics()
        self._slots = slots
        self._places = places
        self._gives_way = gives_way
        self._sent = threading.Event()
        self._commands: deque[Command] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.pictures: set[int] = set()
        self._thread: threading.Thread | None = None

    @property
    def capacity(self) -> tuple[int, int]:
        """Slots, and places in the queue."""
        return self._slots, self._places

    @property
    def room(self) -> tuple[int, int]:
        """Slots, and places in the queue, that are free."""
        over = len(self.pictures) - self._slots
        return max(0, -over), self._places - max(0, over)

    def start(self, deliver: Deliver) -> None:
        """Start the thread. ``deliver`` is called in the running loop with the engine's events,
        in order."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop, deliver), name="rowcast-engine", daemon=True
        )
        self._thread.start()

    def submit(self, picture: int, request: PictureRequest, client: Hashable) -> None:
        """Queue a picture. Raises Refused (busy) where there is no room."""
        if self.room == (0, 0):
            raise Refused(
                ErrorCode.BUSY,
                f"{len(self.pictures)} pictures are being drawn or wait",
                BUSY_RETRY_MS,
            )
        self.pictures.add(picture)

        def command() -> list[EngineEvent]:
            try:
                self._engine.submit(picture, request, client)
            except Exception:
                logger.exception("a picture could not be submitted")
                return [PictureEnded(picture, Ending.FAILED, FAILURE)]
            return []

        self._command(command)

    def cancel(self, picture: int) -> None:
        """End a picture; nothing happens to one that has ended."""
        self._command(lambda: self._engine.cancel(picture))

    async def close(self) -> None:
        """Stop the thread, if it runs, after the step in hand."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _command(self, command: Command) -> None:
        with self._changed:
            self._commands.append(command)
            self._changed.notify()

    def _run(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        while True:
            with self._changed:
                while not (self._commands or self._closing or not self._engine.idle):
                    self._changed.wait()
                if self._closing:
                    return
                commands = list(self._commands)
                self._commands.clear()
            events: list[EngineEvent] = []
            for command in commands:
                events += self._guarded(command)
            if not self._engine.idle:
                begun = time.perf_counter()
                events += self._guarded(self._engine.step)
                self._metrics.stepped(time.perf_counter() - begun)
            if events:
                self._sent.clear()
                try:
                    loop.call_soon_threadsafe(self._hand_over, loop, deliver, events)
                except RuntimeError:  # the loop has closed under us: nobody is left to tell
                    return
                if self._gives_way:
                    self._sent.wait(GIVE_WAY_SECONDS)

    def _guarded(self, work: Command) -> list[EngineEvent]:
        """Run a command for its events. If it fails, every picture does, and the engine goes on."""
        try:
            return work()
        except Exception:
            logger.exception("the engine failed")
            return self._engine.fail_all(FAILURE)

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, events: list[EngineEvent]
    ) -> None:
        for event in events:
            if isinstance(event, PictureEnded):
                self.pictures.discard(event.picture)
        deliver(events)
        loop.call_soon(self._sent.set)  # behind the tasks that were woken


class Fleet:
    """Data parallelism: engines of one model, one a device; each picture goes to the emptiest.

    A picture's ids depend on its request alone, so it does not matter which engine draws it. All
    methods are for the event loop's thread.
    """

    def __init__(self, bridges: Sequence[EngineBridge]) -> None:
        self.bridges = bridges

    def start(self, deliver: Deliver) -> None:
        """Start every engine; ``deliver`` is called in the running loop with their events."""
        for bridge in self.bridges:
            bridge.start(deliver)

    @property
    def capacity(self) -> tuple[int, int]:
        """Slots, and places in the queue, on all devices together."""
        capacities = [bridge.capacity for bridge in self.bridges]
        return sum(slots for slots, _ in capacities), sum(places for _, places in capacities)

    @property
    def replicas(self) -> tuple[ReplicaState, ...]:
        """None: this process draws."""
        return ()

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
