"""The client's session against a server that is at times wrong.

What R-95 forbids is refused, what is right is taken; the rows held are those that were sent, in
order; what is sent on the next socket goes on from them; and nothing is kept of what has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from rowcast.errors import ProtocolError, RowcastError
from rowcast.generation import Generation, Slot
from rowcast.messages import (
    Done,
    DoneReason,
    Error,
    Rows,
    Start,
    Watch,
    decode_client,
    encode,
    ids_checksum,
    view_key,
)
from rowcast.requests import Request
from rowcast.session import ClientSession

from tests.fuzz.machines.batches import batches
from tests.support.fake_server import ROWS, accepted, ids_of, ids_until, rows, welcome

VIEW: Final = b"a view key of 16"
WRONG: Final = ("image", "model", "revision", "seed", "rows", "cols", "id_bytes", "first_row")
which_slot = st.integers(0, 9)


@dataclass
class Known:
    """What the server has told of a stream, and what was asked for on it."""

    slot: Slot
    prefix: int = 0  # rows of the request
    stop_row: int = ROWS
    sent: int = 0  # rows that the client must hold
    begun: bool = False
    answered: bool = False  # on this socket
    seed: int = 7


class ClientMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.session = ClientSession()
        self.generations: list[Generation] = []
        self.known: dict[int, Known] = {}  # open streams
        self.connect()

    def connect(self) -> None:
        assert decode_client(self.session.hello()) is not None
        self.session.receive(welcome(streams=16, images=4))

    # What the client asks for

    @precondition(lambda self: len(self.known) < 8)
    @rule(images=st.integers(1, 3), prefix=st.integers(0, 2), stop_row=st.sampled_from([None, 3]))
    def start(self, images: int, prefix: int, stop_row: int | None) -> None:
        request = Request("a red boat", images, prefix=ids_until(prefix) or None, stop_row=stop_row)
        generation, frames = self.session.start(request)
        assert isinstance(decode_client(frames[0]), Start)
        self.opened(generation, prefix, stop_row or ROWS)

    @precondition(lambda self: len(self.known) < 8)
    @rule(images=st.integers(1, 2))
    def watch(self, images: int) -> None:
        generation, _ = self.session.watch(VIEW, images)
        self.opened(generation, 0, ROWS)

    def opened(self, generation: Generation, prefix: int, stop_row: int) -> None:
        self.generations.append(generation)
        for slot in generation.slots:
            assert slot.stream not in self.known, "a stream that is open"
            self.known[slot.stream] = Known(slot, prefix, stop_row, prefix)

    @precondition(lambda self: self.generations)
    @rule(which=which_slot, abandon=st.booleans())
    def cancel(self, which: int, abandon: bool) -> None:
        generation = self.generations[which % len(self.generations)]
        streams = [slot.stream for slot in generation.slots if slot.stream in self.known]
        frames = [decode_client(frame) for frame in self.session.cancel(generation)]
        if not generation.failure:
            assert [frame.stream for frame in frames] == [  # type: ignore[union-attr]
                stream for stream in streams if self.known[stream].slot in generation.slots
            ]
        if abandon:
            generation.abandon()

    # What the server sends rightly

    @precondition(lambda self: self.known)
    @rule(which=which_slot, position=st.integers(0, 3))
    def accept(self, which: int, position: int) -> None:
        known = self.choose(which)
        if not known.answered:
            self.session.receive(self.accepted(known, position=position))
            known.begun = known.answered = True

    @precondition(lambda self: self.known)
    @rule(which=which_slot, count=st.integers(1, ROWS))
    def draw(self, which: int, count: int) -> None:
        known = self.choose(which)
        count = min(count, known.stop_row - known.sent)
        if known.begun and count:
            self.session.receive(self.rows(known, known.sent, count))
            known.sent += count

    @precondition(lambda self: self.known)
    @rule(which=which_slot)
    def end(self, which: int) -> None:
        known = self.choose(which)
        if known.begun:
            reason = DoneReason.CANCELLED
            if known.sent == known.stop_row:
                reason = DoneReason.COMPLETE if known.sent == ROWS else DoneReason.STOP_ROW
            self.session.receive(self.done(known, reason))
            assert known.slot.ended
            assert known.slot.picture.reason == reason
            del self.known[known.slot.stream]

    @precondition(lambda self: self.known)
    @rule(which=which_slot, code=st.sampled_from(["gone", "internal", "bad_prompt", "new"]))
    def refuse(self, which: int, code: str) -> None:
        known = self.choose(which)
        self.session.receive(encode(Error(known.slot.stream, code, 0, "no")))
        assert known.slot.ended
        del self.known[known.slot.stream]

    @rule(stream=st.sampled_from([40, 300]))
    def send_on_a_stream_that_is_not_open(self, stream: int) -> None:
        for frame in (
            rows(0, 1, stream),
            accepted(stream, image=0),
            encode(Done(stream, 0, 0, 0, 0)),
        ):
            assert self.session.receive(frame) == []

    # What the server sends wrongly: each ends the connection, and the client comes again

    @precondition(lambda self: self.known)
    @rule(which=which_slot, name=st.sampled_from(WRONG))
    def accept_wrongly(self, which: int, name: str) -> None:
        known = self.choose(which)
        value: Any = {"model": "other", "revision": b"another1"}.get(name)
        if value is None:
            value = {"image": 9, "seed": 8, "rows": 5, "cols": 5, "id_bytes": 4, "first_row": 4}[
                name
            ]
        others = [each for each in known.slot.generation.slots if each.begun]
        if not known.begun and name == "revision":
            return  # nothing was asked for, so any will do
        if not known.begun and name == "seed" and not (known.slot.is_own and others):
            return
        if name == "first_row" and known.sent == value:
            value -= 1
        self.refused(self.accepted(known, **{name: value}))

    @precondition(lambda self: self.known)
    @rule(which=which_slot)
    def accept_twice(self, which: int) -> None:
        known = self.choose(which)
        if known.answered:
            self.refused(self.accepted(known))

    @precondition(lambda self: self.known)
    @rule(which=which_slot, skew=st.sampled_from([-1, 1, 2]))
    def skip_or_repeat_rows(self, which: int, skew: int) -> None:
        known = self.choose(which)
        if known.sent + skew >= 0:
            self.refused(self.rows(known, known.sent + skew, 1))

    @precondition(lambda self: self.known)
    @rule(which=which_slot)
    def send_too_many_rows(self, which: int) -> None:
        known = self.choose(which)
        if known.begun and known.slot.is_own:
            self.refused(self.rows(known, known.sent, ROWS - known.sent + 1))

    @precondition(lambda self: self.known)
    @rule(which=which_slot, what=st.sampled_from(["rows", "crc32", "complete"]))
    def end_wrongly(self, which: int, what: str) -> None:
        known = self.choose(which)
        match what:
            case "rows":
                frame = self.done(known, DoneReason.CANCELLED, known.sent + 1)
            case "crc32":
                frame = self.done(known, DoneReason.CANCELLED, flip=1)
            case _:
                if known.sent == ROWS and known.begun:
                    return
                frame = self.done(known, DoneReason.COMPLETE)
        self.refused(frame)

    @rule(frame=st.sampled_from([welcome(), b"\x90", b"\x91\x1f", encode(Error(None, "x", 0, ""))]))
    def break_the_connection(self, frame: bytes) -> None:
        self.refused(frame)

    @rule()
    def lose_the_link(self) -> None:
        """The frames of the next socket go on from the rows that are held."""
        self.connect()
        for known in list(self.known.values()):
            known.answered = False
            generation = known.slot.generation
            if generation.abandoned or generation.failure:
                del self.known[known.slot.stream]
        asked = [decode_client(frame) for frame in self.session.resume()]
        streams: list[int] = []
        for message in asked:
            assert isinstance(message, Start | Watch), message
            streams += range(message.stream, message.stream + getattr(message, "images", 1))
            known = self.known[message.stream]
            held = ids_until_of(known)
            if isinstance(message, Watch):
                assert (message.rows_held, message.crc32) == (len(held) // 8, ids_checksum(held))
                assert message.view_key == known.slot.generation.view_key
                assert not known.slot.is_own or known.sent == known.stop_row
            else:
                assert message.key == known.slot.generation.key
                assert view_key(message.key) == known.slot.generation.view_key
                assert (message.options.prefix or b"") == held
                assert message.options.first_image == known.slot.image
                assert not known.begun or message.options.seed == known.seed
        assert sorted(streams) == sorted(self.known), "each picture is asked for, and once"

    def teardown(self) -> None:
        for known in self.known.values():
            held = known.slot.picture.held_bytes if known.begun else b""
            assert not known.begun or held == ids_until_of(known)
        self.session.close()
        assert self.session._slots == {}
        for generation in self.generations:
            assert generation.ended or generation.abandoned
            news = 0
            while news < 100:
                try:
                    event = generation.take()
                except RowcastError:
                    break
                if event is None:
                    break
                news += 1
            assert news <= 4 * len(generation.slots), "news are a queue without bound"

    # Helpers

    def choose(self, which: int) -> Known:
        return list(self.known.values())[which % len(self.known)]

    def refused(self, frame: bytes) -> None:
        """The client refuses the frame: nothing of it is taken, and another connection follows."""
        held = {known.slot.stream: ids_of_slot(known.slot) for known in self.known.values()}
        try:
            self.session.receive(frame)
        except ProtocolError:
            pass
        else:
            raise AssertionError(f"{frame.hex()} was taken")
        for known in self.known.values():
            taken = ids_of_slot(known.slot)
            assert taken == held[known.slot.stream], f"{taken.hex()} of a frame that was refused"
        self.lose_the_link()

    def accepted(self, known: Known, **changes: Any) -> bytes:
        first = known.sent
        fields = {"image": known.slot.image, "seed": known.seed, "first_row": first} | changes
        return accepted(known.slot.stream, **fields)

    def rows(self, known: Known, first: int, count: int) -> bytes:
        ids = b"".join(ids_of(row, known.slot.image) for row in range(first, first + count))
        return encode(Rows(known.slot.stream, first, ids))

    def done(
        self, known: Known, reason: DoneReason, count: int | None = None, flip: int = 0
    ) -> bytes:
        count = known.sent if count is None else count
        checksum = ids_checksum(ids_until_of(known)) ^ flip
        return encode(Done(known.slot.stream, count, checksum, 5, reason))


def ids_until_of(known: Known) -> bytes:
    """The rows that a client must hold: those it gave, and those that were sent."""
    image = known.slot.image
    drawn = b"".join(ids_of(row, image) for row in range(known.prefix, known.sent))
    return ids_until(known.prefix) + drawn


def ids_of_slot(slot: Slot) -> bytes:
    return b"" if slot.begun is None else slot.begun.held_bytes


TARGETS: Final = {"client_session": batches(ClientMachine)}
