"""The server's session over its book: any order of frames, rows, time, and connections that go.

Each stream has one end, its rows come in order and once, nobody sees what he may not, and nothing
is left once all is over.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from rowcast.messages import (
    MAX_STREAM,
    Cancel,
    CloseCode,
    Options,
    Ping,
    Pong,
    Start,
    Watch,
    Welcome,
    encode,
    ids_checksum,
    view_key,
)
from rowcast_server.access import Grant
from rowcast_server.clients import Visitor
from rowcast_server.engine.request import PictureRequest
from rowcast_server.errors import CloseConnection

from tests.fuzz.machines.batches import batches
from tests.fuzz.machines.watched_line import ROW_BYTES, ROWS, Stream, WatchedLine, rows_of
from tests.support.fakes import LIMITS, MODEL, Studio, ids_of
from tests.support.lines import Line

GRANTS: Final = (
    Grant("anna"),
    Grant("ben"),
    Grant("carl", may_draw=False),
    Grant("dora", may_watch=False),
)
KEYS: Final = (bytes(16), b"\x01" * 16)
MOST_LINES: Final = 5
GRACE, KEEP, DEADLINE = 30.0, 300.0, 100.0
MALFORMED: Final = (
    b"", b"\x90", b"\x91\x1f", b"\x93\x00\xc0\xa0", b"\x92\x09\xc0", b"\xc1", b"\x92\x07\xff",
    b"\x91" * 5_000, "text", encode(Pong(1)) + b"\x00",
)  # fmt: skip
IGNORED: Final = (b"\x91\x20", b"\x92\x21\x80", encode(Pong(3)))

lines = st.integers(0, MOST_LINES - 1)
streams = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 300, MAX_STREAM])
few_streams = st.integers(0, 4)
keys = st.integers(0, len(KEYS) - 1)
pictures = st.integers(0, 9)


class ServerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        limits = msgspec.structs.replace(LIMITS, streams=6, images=3)
        self.studio = Studio(
            grace=GRACE, keep=KEEP, deadline=DEADLINE, capacity=4, client_pictures=3,
            welcome=Welcome(limits, [MODEL]),
        )  # fmt: skip
        self.lines: list[WatchedLine] = []
        self.prefixes: dict[int, bytes] = {}
        self.is_drawn = True

    @property
    def now(self) -> float:
        return self.studio.clock.now

    # Connections

    @precondition(lambda self: len(self.lines) < MOST_LINES)
    @rule(number=st.integers(0, len(GRANTS) - 1), hello=st.sampled_from([True, True, True, False]))
    def open(self, number: int, hello: bool) -> None:
        grant = GRANTS[number]
        line = WatchedLine(Line(self.studio, Visitor(f"192.0.2.{number}", grant=grant)), grant)
        self.lines.append(line)
        if hello:
            line.say_hello()
            line.read(self.now, 1, self.prefixes)
            assert line.greeted
        else:
            self.is_closed_by(line, encode(Ping(1)), CloseCode.BEFORE_HELLO)

    @precondition(lambda self: self.lines)
    @rule(which=lines)
    def close(self, which: int) -> None:
        line = self.lines.pop(which % len(self.lines))
        line.line.session.close()
        line.read(self.now, 2_000, self.prefixes)  # what is still read sends no rows
        assert not line.line.session.is_watched

    @precondition(lambda self: self.lines)
    @rule(which=lines, most=st.sampled_from([1, 2, 3, 2_000]))
    def read(self, which: int, most: int) -> None:
        self.line(which).read(self.now, most, self.prefixes)

    # Frames

    @precondition(lambda self: self.lines)
    @rule(which=lines, index=st.integers(0, 2 * len(MALFORMED)))
    def disturb(self, which: int, index: int) -> None:
        """Half of the times by what closes the connection, or is to close it soon."""
        line = self.line(which)
        if index == len(MALFORMED):
            line.notices.append(5_000)
            line.line.session.go_away(5_000)
        elif index > len(MALFORMED):
            line.line.session.receive(IGNORED[index % len(IGNORED)])
        else:
            frame = MALFORMED[index]
            long = isinstance(frame, bytes) and len(frame) > LIMITS.client_frame_bytes
            self.is_closed_by(line, frame, CloseCode.LIMIT if long else CloseCode.MALFORMED)

    @precondition(lambda self: self.lines)
    @rule(which=lines, echo=st.integers(0, 9))
    def ping(self, which: int, echo: int) -> None:
        line = self.line(which)
        line.line.send(Ping(echo))
        line.echoes.append(echo)

    @precondition(lambda self: self.lines)
    @rule(which=lines, stream=few_streams, key=keys, images=st.integers(1, 2),
          given=st.sampled_from([0, 0, 2]), stop_row=st.sampled_from([None, 3]))  # fmt: skip
    def start(
        self, which: int, stream: int, key: int, images: int, given: int, stop_row: int | None
    ) -> None:
        self.send_start(which, stream, key, 0, images, 7, given, True, stop_row, "a red boat")

    @precondition(lambda self: self.lines)
    @rule(
        which=lines, stream=streams, key=keys, image=st.integers(0, 1),
        images=st.sampled_from([1, 2, 3, 4, 0, 70_000]), seed=st.sampled_from([7, 8, None, -1]),
        given=st.integers(0, ROWS), right=st.booleans(),
        stop_row=st.sampled_from([None, 2, ROWS, 9]), prompt=st.sampled_from(["a red boat", " "]),
    )  # fmt: skip
    def start_oddly(self, **asked: Any) -> None:
        self.send_start(**asked)

    def send_start(
        self, which: int, stream: int, key: int, image: int, images: int, seed: int | None,
        given: int, right: bool, stop_row: int | None, prompt: str,
    ) -> None:  # fmt: skip
        line = self.line(which)
        count = images if 1 <= images <= 3 and stream + images <= MAX_STREAM + 1 else 1
        if not self.are_free(line, range(stream, stream + count)):
            return
        prefix = ids_of(image if right else 9, 0, given)
        options = Options(seed=seed, first_image=image, stop_row=stop_row, prefix=prefix or None)
        known = set(self.studio.drawer.requests)
        line.line.send(Start(stream, KEYS[key], prompt, images, options))
        for number in set(self.studio.drawer.requests) - known:
            self.prefixes[number] = prefix
        for index in range(count):
            name = (view_key(KEYS[key]), image + index)
            picture = self.studio.book._by_name.get(name)
            number = stream + index
            line.streams[number] = Stream(number, name[1], name, given, True, picture)

    @precondition(lambda self: self.lines)
    @rule(which=lines, stream=few_streams, key=keys, image=st.integers(0, 1),
          held=st.integers(0, 3), right=st.sampled_from([True, True, True, False]))  # fmt: skip
    def watch(self, which: int, stream: int, key: int, image: int, held: int, right: bool) -> None:
        line = self.line(which)
        if not self.are_free(line, range(stream, stream + 1)):
            return
        name = (view_key(KEYS[key]), image)
        picture = self.studio.book._by_name.get(name)
        truth = b"" if picture is None else rows_of(picture, self.prefixes)
        checksum = ids_checksum(truth[: held * ROW_BYTES]) ^ (not right)
        drawn = 0 if picture is None else picture.rows
        try:
            line.line.send(Watch(stream, name[0], image, held, checksum))
        except CloseConnection as refusal:
            assert refusal.code == CloseCode.RATE_LIMITED  # noqa: PT017 - it may come, or not
            self.forget(line)
            return
        if picture is not None and (not right or held > drawn):
            picture = None  # gone: nothing of it may come
        line.streams[stream] = Stream(stream, image, name, held, False, picture)

    @precondition(lambda self: self.lines)
    @rule(which=lines, stream=streams)
    def cancel(self, which: int, stream: int) -> None:
        line = self.line(which)
        line.line.send(Cancel(stream))
        if stream in line.streams:
            line.streams[stream].cancelled = True

    # The engine, and time

    @precondition(lambda self: self.studio.drawer.requests)
    @rule(which=pictures, rows=st.integers(1, ROWS))
    def draw(self, which: int, rows: int) -> None:
        number, request = self.drawn(which)
        left = request.stop_row - self.studio.drawer._rows[number]
        self.studio.drawer.draw(number, min(rows, left))

    @precondition(lambda self: self.studio.drawer.requests)
    @rule(which=pictures, place=st.integers(0, 3))
    def place(self, which: int, place: int) -> None:
        number, _ = self.drawn(which)
        if self.studio.book._by_number[number].drawn_since is None:
            self.studio.drawer.place(number, place)

    @precondition(lambda self: self.studio.drawer.requests)
    @rule(which=pictures)
    def fail(self, which: int) -> None:
        self.studio.drawer.fail(self.drawn(which)[0])

    @rule(seconds=st.sampled_from([0.4, 1.0, 1.0, 5.0, 5.0, GRACE, DEADLINE, KEEP]))
    def wait(self, seconds: float) -> None:
        self.studio.clock.advance(seconds)

    @rule(drawn=st.booleans())
    def choose_the_end(self, drawn: bool) -> None:
        """In the end all is drawn, or is left by all who watch it."""
        self.is_drawn = drawn

    # What holds in the end

    def teardown(self) -> None:
        while self.studio.drawer.requests and self.is_drawn:
            self.draw(0, ROWS)
        self.studio.clock.advance(1.0)
        for line in self.lines:
            line.read(self.now, 2_000, self.prefixes)
            line.read(self.now, 2_000, self.prefixes)
            gone = line.line.session.has_left or not self.is_drawn
            assert gone or not line.streams, f"streams without an end: {line.streams}"
            assert gone or not line.echoes, "pings without an answer"
            line.line.session.close()
        self.lines.clear()
        book, clock = self.studio.book, self.studio.clock
        assert all(picture.viewers == set() for picture in book._by_name.values())
        clock.advance(GRACE + DEADLINE + KEEP + 1)
        assert len(book) == 0, "pictures are left"
        left = book._by_number, book._kept, book._taken, book._waiting, self.studio.drawer.requests
        assert not any(left), left
        assert clock.waiting == [], "timers are left"
        clients = self.studio.clients
        assert len(clients._starts._buckets) <= len(GRANTS)
        assert len(clients._failures._buckets) <= len(GRANTS)

    # Helpers

    def line(self, which: int) -> WatchedLine:
        return self.lines[which % len(self.lines)]

    def drawn(self, which: int) -> tuple[int, PictureRequest]:
        requests = self.studio.drawer.requests
        return list(requests.items())[which % len(requests)]

    def are_free(self, line: WatchedLine, wanted: range) -> bool:
        """False if the client may not know, or, once it does know, after the close that follows."""
        taken = [line.streams[number] for number in wanted if number in line.streams]
        if any(stream.accepted for stream in taken):
            self.is_closed_by(line, encode(Ping(0)), None, wanted)
        return not taken

    def is_closed_by(
        self,
        line: WatchedLine,
        frame: bytes | str,
        code: CloseCode | None,
        wanted: range = range(0),
    ) -> None:
        """The session wants the connection closed by this frame, and the gateway does so."""
        try:
            if code is None:
                code = CloseCode.DUPLICATE_STREAM
                line.line.send(Start(wanted.start, KEYS[0], "two", len(wanted)))
            else:
                line.line.session.receive(frame)
        except CloseConnection as closed:
            assert closed.code == code, closed  # noqa: PT017 - of any frame
        else:
            raise AssertionError(f"{code!r} did not come")
        self.forget(line)

    def forget(self, line: WatchedLine) -> None:
        line.line.session.close()
        self.lines.remove(line)


TARGETS: Final = {"server_session": batches(ServerMachine)}
