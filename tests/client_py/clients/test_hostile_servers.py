"""Both clients, and servers that break the protocol: what had arrived is there, the next works."""

from __future__ import annotations

import time

import pytest
from rowcast.errors import (
    ConnectionLost,
    ProtocolError,
)
from rowcast.messages import CloseCode, Error, Rows, encode

from tests.support.client.clients import PROMPT, draws_another
from tests.support.client.shells import Connect
from tests.support.fake_server import (
    Peer,
    accepted,
    done,
    fake_server,
    ids_until,
    rows,
    welcome,
)

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


HOSTILE: dict[str, tuple[list[bytes | str], str]] = {
    "garbage": ([b"garbage"], "not a message"),
    "nothing": ([b""], "not a message"),
    "text": (["[4, 0, 2]"], "text frame"),
    "a skipped row": ([rows(3)], "row 3 arrived where row 2 was due"),
    "a repeated row": ([rows(1)], "row 1 arrived where row 2 was due"),
    "half a row": ([encode(Rows(0, 2, b"1234"))], "no whole rows"),
    "too many rows": ([rows(2, 3)], "row 4 of a grid of 4"),
    "an id outside the codebook": ([encode(Rows(0, 2, b"\xff" * 8))], "codebook"),
    "rows of a stream not accepted": ([rows(0, stream=1)], "stream 1 was not accepted"),
    "an end that comes too early": ([done()], "ended with 4 rows"),
    "a wrong checksum": ([rows(2, 2), done(crc32=5)], "crc32"),
    "a second welcome": ([welcome()], "second welcome"),
    "an unknown model": ([accepted(1, model="other")], "was not announced"),
    "a frame over the protocol's limit": (
        [b"\x92\x28\xc5\x4e\x20" + bytes(20_000)],
        "at most 16384",
    ),
    "a frame over the transport's limit": ([bytes(70_000)], "cannot be read"),
}


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        (done(crc32=5), CloseCode.MALFORMED, "crc32"),
        (encode(Error(None, "internal", 0, "out of memory")), 1000, "out of memory [internal]"),
        (encode(Error(None, "internal", 0, "é" * 200)), 1000, "the server reports: ééé"),
    ],
)
def test_a_server_reads_why_its_connection_is_closed(
    connect: Connect, frame: bytes, code: int, reason: str
) -> None:
    closed: list[tuple[int | None, str | None]] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0, 4), frame)
        await peer.connection.wait_closed()
        closed.append((peer.connection.close_code, peer.connection.close_reason))

    with (
        fake_server(script) as fake,
        connect(fake.url, decode=False) as client,
        pytest.raises(ProtocolError),
    ):
        client.pictures(PROMPT)
    [(found, told)] = closed
    assert found == code
    assert reason in (told or "")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_server_that_breaks_the_protocol(connect: Connect, name: str) -> None:
    frames, fault = HOSTILE[name]
    closed: list[int | None] = []

    async def hostile(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(0), rows(0, 2), *frames)
        await peer.connection.wait_closed()
        closed.append(peer.connection.close_code)

    async def decent(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(seed=6), rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(hostile, decent) as fake, connect(fake.url, decode=False) as client:
        with pytest.raises(ProtocolError, match=fault) as caught:
            list(client.generate(PROMPT, 2))
        held = caught.value.pictures[0]
        assert held.held_bytes[: 4 * 2 * 2] == ids_until(2)
        draws_another(client)
        assert fake.connections == 2
    assert closed == [1009 if len(frames[0]) == 70_000 else CloseCode.MALFORMED]


def test_a_link_that_always_breaks_is_given_up(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted())
        peer.drop()

    with fake_server(script) as fake, connect(fake.url, decode=False, reconnect=1) as client:
        begun = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            list(client.generate(PROMPT))
        assert time.monotonic() - begun < 8
        assert len(caught.value.pictures) == 1
        assert 2 <= fake.connections <= 40  # with growing waits, not as fast as it goes


def test_a_server_that_wants_no_more_is_left_alone(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted(), rows(0))
        await peer.connection.close(CloseCode.LIMIT, "enough")

    with fake_server(script) as fake, connect(fake.url, decode=False) as client:
        with pytest.raises(ConnectionLost, match="enough") as caught:
            list(client.generate(PROMPT))
        assert caught.value.code == CloseCode.LIMIT
        assert caught.value.pictures[0].rows_held == 1
        assert fake.connections == 1
