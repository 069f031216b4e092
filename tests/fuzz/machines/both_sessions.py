"""Both sessions back to back, over a link that is cut at any frame: each row arrives exactly once.

What the client holds in the end are all the rows that the engine drew, in order, whatever was lost
on the way, and each picture has its end.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from rowcast.errors import RowcastError
from rowcast.events import PictureDone, RowsArrived
from rowcast.generation import Generation
from rowcast.messages import DoneReason, Start, Watch, Welcome, decode_client
from rowcast.requests import Request
from rowcast.session import ClientSession
from rowcast_server.session import ServerSession

from tests.fuzz.machines.batches import batches
from tests.support.fakes import LIMITS, MODEL, Studio, ids_of

GRACE: Final = 30.0
MOST_TURNS: Final = 50  # until all is done, once the link holds
which_one = st.integers(0, 9)


class LinkMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        limits = msgspec.structs.replace(LIMITS, streams=16)
        self.studio = Studio(grace=GRACE, keep=300.0, welcome=Welcome(limits, [MODEL]))
        self.client = ClientSession()
        self.server: ServerSession | None = None
        self.up: deque[bytes] = deque()  # on their way
        self.down: deque[bytes] = deque()
        self.wanted: list[tuple[Generation, int]] = []  # and rows of each picture
        self.told: dict[tuple[int, int], bytearray] = {}  # rows as events told them
        self.ends: dict[tuple[int, int], DoneReason | int] = {}
        self.welcomed = False
        self.connect()
        self.carry(9)

    def connect(self) -> None:
        self.server = self.studio.session(lambda: None)
        self.up.append(self.client.hello())
        self.welcomed = False

    # The link

    @rule(up=st.integers(0, 3), down=st.integers(0, 5))
    def carry_some(self, up: int, down: int) -> None:
        for _ in range(min(up, len(self.up))):
            self.serve(self.up.popleft())
        if self.server is not None:
            self.down += self.server.outgoing(self.studio.clock.now)
        for _ in range(min(down, len(self.down))):
            self.take(self.down.popleft())

    def carry(self, turns: int) -> None:
        for _ in range(turns):
            self.carry_some(1_000, 1_000)

    def serve(self, frame: bytes) -> None:
        if self.server is not None:
            self.server.receive(frame)  # CloseConnection is a fault: the client is right

    def take(self, frame: bytes) -> None:
        self.up += self.client.receive(frame)  # ProtocolError is a fault: the server is right
        if not self.welcomed:
            self.welcomed = True
            self.up += self.client.resume()

    @rule(lost=st.integers(0, 3), wait=st.sampled_from([0.0, 1.0, GRACE + 1]))
    def cut(self, lost: int, wait: float) -> None:
        """The link goes, with what is on its way; the server may have got some of it."""
        for _ in range(min(lost, len(self.up))):
            self.serve(self.up.popleft())
        self.up.clear()
        self.down.clear()
        if self.server is not None:
            self.server.close()
        self.studio.clock.advance(wait)
        self.connect()

    # What is asked for

    @precondition(lambda self: self.welcomed and len(self.wanted) < 4)
    @rule(images=st.integers(1, 3), first=st.integers(0, 1), prefix=st.integers(0, 2),
          stop_row=st.sampled_from([None, 3]))  # fmt: skip
    def start(self, images: int, first: int, prefix: int, stop_row: int | None) -> None:
        given = ids_of(first, 0, prefix) if images == 1 else b""
        request = Request(
            "a red boat", images, seed=7, first_image=first, prefix=given or None, stop_row=stop_row
        )
        generation, frames = self.client.start(request)
        self.want(generation, frames, stop_row or MODEL.rows)
        for slot in generation.slots:
            self.told[id(generation), slot.index] = bytearray(given)

    @precondition(lambda self: self.welcomed and self.wanted and len(self.wanted) < 4)
    @rule(which=which_one)
    def watch(self, which: int) -> None:
        other, rows = self.wanted[which % len(self.wanted)]
        first = other.slots[0]
        if other.watched is None and self.studio.book._by_name.get((other.view_key, first.image)):
            generation, frames = self.client.watch(other.view_key, 1, first.image)
            self.want(generation, frames, rows)
            self.told[id(generation), 0] = bytearray()

    def want(self, generation: Generation, frames: list[bytes], rows: int) -> None:
        assert isinstance(decode_client(frames[0]), Start | Watch)
        self.wanted.append((generation, rows))
        self.up += frames

    # The engine

    @precondition(lambda self: self.studio.drawer.requests)
    @rule(which=which_one, rows=st.integers(1, 4))
    def draw(self, which: int, rows: int) -> None:
        requests = self.studio.drawer.requests
        number, request = list(requests.items())[which % len(requests)]
        self.studio.drawer.draw(
            number, min(rows, request.stop_row - self.studio.drawer._rows[number])
        )

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.studio.clock.advance(seconds)

    @rule()
    def take_events(self) -> None:
        for generation, _ in self.wanted:
            try:
                while (event := generation.take()) is not None:
                    place = id(generation), event.index
                    assert place not in self.ends, f"{event} after the end"
                    if isinstance(event, RowsArrived):
                        told = self.told[place]
                        assert len(told) == event.first_row * MODEL.cols * 2, "told twice, or not"
                        told += event.rows.astype("<u2").tobytes()
                    elif isinstance(event, PictureDone):
                        self.ends[place] = event.reason
            except RowcastError as error:
                # A viewer alone may come too late: of a picture that nobody watched for long.
                if generation.watched is None:
                    raise AssertionError("a picture of its owner's failed") from error

    def teardown(self) -> None:
        """The link holds from now on: all comes to its end."""
        for _ in range(MOST_TURNS):
            while self.studio.drawer.requests:
                self.draw(0, 4)
            self.carry(2)
            self.take_events()
        for generation, rows in self.wanted:
            for slot in generation.slots:
                place = id(generation), slot.index
                if place not in self.ends:
                    assert generation.watched is not None, "no end came"
                    continue
                whole = ids_of(slot.image, 0, rows)
                if generation.watched is None:
                    assert slot.picture.held_bytes == self.told[place] == whole
                    end = DoneReason.COMPLETE if rows == MODEL.rows else DoneReason.STOP_ROW
                    assert self.ends[place] == end
                else:
                    assert slot.picture.held_bytes == self.told[place]
                    assert whole.startswith(self.told[place])
        assert self.client._slots == {}
        assert self.server is not None
        assert not self.server.is_watched
        self.server.close()
        self.studio.clock.advance(1_000)
        assert len(self.studio.book) == 0
        assert self.studio.clock.waiting == []


TARGETS: Final = {"both_sessions": batches(LinkMachine)}
