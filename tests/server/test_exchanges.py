"""The exchanges of protocol.md, section 2, played against a session: what the document shows is
what the server sends, byte for byte (but for the words of errors, and `welcome`, by its meaning).
"""

from __future__ import annotations

import re
from collections import deque

import pytest
from msgspec.structs import replace
from rowcast.messages import Error, Welcome, decode_server
from rowcast_server.config import ServerConfig
from rowcast_server.errors import CloseConnection

from tests import document
from tests.support.fakes import Studio
from tests.support.lines import Line

FRAME = re.compile(r"^([CS])  ((?:[0-9a-f]+\s+)+);", re.MULTILINE)
SEED = 20_260_501  # that the server draws in the exchanges


def shown(section: str) -> list[tuple[str, bytes]]:
    """(C or S, bytes) of every frame of a section, in order."""
    (text,) = re.findall(rf"^### {section} .*?(?=^##)", document.TEXT, re.M | re.S)
    blocks = re.findall(r"^```frames\n(.*?)^```$", text, re.M | re.S)
    return [(side, bytes.fromhex(code)) for block in blocks for side, code in FRAME.findall(block)]


def client_frames(section: str) -> list[bytes]:
    return [frame for side, frame in shown(section) if side == "C"]


class Play:
    """One section: `say` sends the client's next frame, `hear` expects the server's next."""

    def __init__(self, section: str, revision: bytes | None = None) -> None:
        self._script = iter(shown(section))
        welcome = decode_server(next(frame for side, frame in shown("2.1") if side == "S"))
        assert isinstance(welcome, Welcome)
        if revision is not None:
            welcome = replace(welcome, models=[replace(welcome.models[0], revision=revision)])
        self.studio = Studio(welcome=welcome)
        self.connect()

    def connect(self, tokens: frozenset[str] = frozenset()) -> None:
        clients = self.studio.clients_of(ServerConfig(tokens=tokens))
        self.session = Line(self.studio, clients=clients).session
        self._sent: deque[bytes] = deque()

    def greet(self) -> None:
        self.session.receive(client_frames("2.1")[0])
        self.skip(1)

    def begin(self, rows: int) -> None:
        """Be in the middle of 2.1: the picture is started and so many of its rows are read."""
        self.greet()
        self.session.receive(client_frames("2.1")[1])
        self.studio.drawer.draw(0, rows)
        self.skip(2 if rows else 1)

    def say(self, count: int = 1) -> None:
        for _ in range(count):
            side, frame = next(self._script)
            assert side == "C"
            self.session.receive(frame)

    def hear(self, count: int = 1) -> None:
        for _ in range(count):
            side, expected = next(self._script)
            assert side == "S"
            got = self._next()
            message = decode_server(expected)
            if isinstance(message, Error):
                answer = decode_server(got)
                assert isinstance(answer, Error)
                assert replace(answer, text=message.text) == message
            elif isinstance(message, Welcome):
                assert decode_server(got) == message  # its integers are floats once decoded
            else:
                assert got.hex(" ") == expected.hex(" ")

    def skip(self, count: int) -> None:
        """Frames that the document does not show."""
        for _ in range(count):
            self._next()

    def skip_script(self, count: int) -> None:
        for _ in range(count):
            next(self._script)

    def _next(self) -> bytes:
        if not self._sent:
            self._sent.extend(self.session.outgoing(self.studio.clock.time()))
        return self._sent.popleft()

    def take(self, milliseconds: int) -> None:
        self.studio.clock.advance(milliseconds / 1000)

    def end(self) -> None:
        """Nothing is left, on either side."""
        assert next(self._script, None) is None
        assert [*self._sent, *self.session.outgoing(self.studio.clock.time())] == []


@pytest.fixture(autouse=True)
def the_seed_of_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowcast_server.admission.secrets.randbelow", lambda _: SEED)


def test_2_1_one_picture() -> None:
    play = Play("2.1")
    play.say(2)
    play.hear()
    play.studio.drawer.place(0)
    play.hear()
    for _ in range(3):
        play.studio.drawer.draw(0)
        play.hear()
    play.take(1_873)
    play.studio.drawer.draw(0)
    play.hear(2)
    play.skip_script(1)  # how a row of 16 ids looks
    play.end()


def test_2_2_several_pictures_one_waiting() -> None:
    play = Play("2.2")
    play.greet()
    play.say()
    for number, place in enumerate((0, 0, 1)):
        play.studio.drawer.place(number, place)
    play.hear(3)
    play.studio.drawer.draw(0)
    play.studio.drawer.draw(1)
    play.hear(2)
    play.take(2_210)
    play.studio.drawer.draw(0, 3)
    play.skip(1)
    play.hear()
    play.studio.drawer.place(2)
    play.hear()
    play.studio.drawer.draw(2)
    play.hear()
    play.end()


def test_2_3_a_cancel_that_races_with_the_end() -> None:
    play = Play("2.3")
    play.begin(rows=3)
    play.take(1_873)
    play.studio.drawer.draw(0)
    play.say()
    play.hear(2)


def test_2_3_a_cancel_in_time() -> None:
    play = Play("2.3")
    play.skip_script(3)
    play.begin(rows=2)
    play.take(1_404)
    play.studio.drawer.draw(0)
    play.say()
    play.hear(2)
    play.end()


def test_2_4_resume_after_a_lost_link() -> None:
    play = Play("2.4")
    play.begin(rows=2)
    play.session.close()
    play.connect()
    play.say(2)
    play.skip(1)
    play.hear()
    play.studio.drawer.draw(0)
    play.hear()
    play.take(1_873)
    play.studio.drawer.draw(0)
    play.hear(2)
    play.end()


def test_2_5_a_late_viewer() -> None:
    play = Play("2.5")
    play.begin(rows=2)
    play.connect()
    play.greet()
    play.take(941)
    play.say()
    play.hear(2)
    play.say()
    play.hear()
    play.end()
    (picture,) = play.studio.drawer.requests
    assert play.studio.drawer.cancelled == [], f"picture {picture} goes on"


def test_2_6_a_bad_token() -> None:
    play = Play("2.6")
    play.connect(frozenset({"open sesame"}))
    with pytest.raises(CloseConnection) as closed:
        play.say()
    assert closed.value.code == 4403
    play.end()


def test_2_7_a_request_that_cannot_be() -> None:
    play = Play("2.7")
    play.greet()
    play.say()
    play.hear()
    play.end()


def test_2_8_a_slow_viewer() -> None:
    play = Play("2.8")
    play.begin(rows=0)
    play.studio.drawer.draw(0)
    play.hear()
    for _ in range(3):
        play.studio.drawer.draw(0)
    play.hear()


def test_2_9_recovery_after_a_lost_server() -> None:
    play = Play("2.9")
    play.greet()
    play.say()
    play.hear()
    play.say()
    play.studio.drawer.place(0)
    play.hear()
    play.studio.drawer.draw(0)
    play.hear()
    play.take(905)
    play.studio.drawer.draw(0)
    play.hear(2)


def test_2_9_another_revision_is_never_mixed_in() -> None:
    play = Play("2.9", revision=bytes.fromhex("8877665544332211"))
    play.greet()
    play.session.receive(client_frames("2.9")[1])
    play.skip_script(len(shown("2.9")) - 1)
    play.hear()
    play.end()
