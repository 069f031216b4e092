"""Both clients, and servers that ask who comes: tokens that end, files that are private, other
hosts."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rowcast
from rowcast.errors import ConnectionFailed, ConnectionLost, InvalidRequest, RequestRefused
from rowcast.messages import CloseCode, DoneReason
from rowcast.transport import READ_BYTES
from rowcast_server.access import sign_token
from rowcast_server.server import RowcastServer
from websockets.asyncio.server import ServerConnection, serve

from tests.support.client.clients import PROMPT, first_rows, opens
from tests.support.client.shells import Connect
from tests.support.fake_server import welcome
from tests.support.pace import Gate, paced_server
from tests.support.servers import running_server

pytestmark = pytest.mark.timeout(60)  # a client that waits for ever must fail, not hang
SECRET = b"0123456789abcdef0123456789abcdef"


def token(seconds: float = 600, *rights: str, subject: str = "alice") -> str:
    return sign_token(SECRET, subject, time.time() + seconds, rights or ("draw", "watch"))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "secret"
    path.write_bytes(SECRET)
    return path


@pytest.fixture(scope="module")
def closed(tiny_folder: Path, secrets: Path) -> Iterator[RowcastServer]:
    """A server that gives nothing, its files included, without a token."""
    with running_server(tiny_folder, token_secret_file=secrets, private_files=True) as server:
        yield server


@pytest.fixture
def paced(tiny_folder: Path, secrets: Path) -> Iterator[tuple[RowcastServer, Gate]]:
    with paced_server(tiny_folder, token_secret_file=secrets) as found:
        yield found


def test_a_token_brings_pictures_and_private_files(connect: Connect, closed: RowcastServer) -> None:
    with connect(closed.ws_url, token=token()) as client:
        (done,) = client.pictures(PROMPT)
        assert done.image is not None
        assert client.tiers[-1].startswith("full")


def test_a_token_goes_to_no_other_host(connect: Connect, closed: RowcastServer) -> None:
    port = closed.http_url.rpartition(":")[2]
    elsewhere = f"http://localhost:{port}/"
    with (
        running_server_that_points_to(elsewhere, closed) as url,
        pytest.raises(rowcast.RowcastError, match="answered with status 401"),
    ):
        opens(connect, url, token=token(), allowed_hosts=["localhost"])


@contextmanager
def running_server_that_points_to(base: str, other: RowcastServer) -> Iterator[str]:
    """A server that announces the files of another one, at that one's address."""
    from msgspec.structs import replace
    from rowcast.messages import Welcome, encode

    from tests.support.fake_server import LIMITS, fake_server

    model = other._announcement
    files = [replace(file, url=base + file.url) for file in model.files]
    answer = encode(Welcome(LIMITS, [replace(model, files=files)]))

    async def greet(peer: object) -> None:
        await peer.send(answer)  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    with fake_server(greet) as url:
        yield url


def test_without_a_token_nothing_opens(connect: Connect, closed: RowcastServer) -> None:
    with pytest.raises(ConnectionFailed, match="token=") as caught:
        opens(connect, closed.ws_url)
    assert caught.value.code == CloseCode.BAD_TOKEN


def test_a_token_that_ends_takes_no_row_away_and_is_told(
    connect: Connect, paced: tuple[RowcastServer, Gate]
) -> None:
    server, gate = paced
    gate.allow(2)
    with connect(server.ws_url, token=token(1.5), decode=False) as client:
        events = client.generate(PROMPT)
        first_rows(events)
        with pytest.raises(ConnectionLost, match="expired") as caught:
            list(events)
    assert caught.value.code == CloseCode.TOKEN_EXPIRED
    assert caught.value.pictures[0].rows_held == 2


def test_a_function_that_gives_fresh_tokens_keeps_the_picture(
    connect: Connect, paced: tuple[RowcastServer, Gate]
) -> None:
    server, gate = paced
    given: list[str] = []

    def fresh() -> str:
        given.append(token(1.5 if not given else 600))
        if len(given) == 2:
            gate.open()
        return given[-1]

    gate.allow(2)
    with connect(server.ws_url, token=fresh, decode=False) as client:
        (done,) = client.pictures(PROMPT)
    assert done.reason is DoneReason.COMPLETE
    assert len(given) == 2


@pytest.mark.parametrize("made", [7, "x" * 1_025, ""])
def test_a_function_that_gives_no_token_is_told(
    connect: Connect, closed: RowcastServer, made: object
) -> None:
    with pytest.raises((InvalidRequest, ConnectionFailed), match="token"):
        opens(connect, closed.ws_url, token=lambda: made)


def test_who_may_watch_may_not_draw(connect: Connect, closed: RowcastServer) -> None:
    with connect(closed.ws_url, token=token(600, "watch"), decode=False) as client:
        with pytest.raises(RequestRefused, match="may watch") as caught:
            client.pictures(PROMPT)
        assert caught.value.code == "forbidden"


ANSWERS = {
    "302 Found\r\nLocation: ws://alice:s3cret@127.0.0.1:9/": (None, "leads elsewhere: to ws://127"),
    "400 Bad Request": (None, "refused: go away"),
    "401 Unauthorized": (CloseCode.BAD_TOKEN, "refused: go away"),
    "403 Forbidden": (None, "refused: go away"),
    "421 Misdirected Request": (None, "refused: go away"),
    "429 Too Many Requests": (CloseCode.RATE_LIMITED, "refused: go away"),
    "503 Service Unavailable": (CloseCode.TRY_LATER, "refused: go away"),
    "404 Not Found": (None, "is no Rowcast server: it answered with HTTP status 404"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_refusal_before_the_websocket_is_told_in_its_words(connect: Connect, answer: str) -> None:
    code, words = ANSWERS[answer]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                head = f"HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"
                connection.sendall(head.encode() + b"go away\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ConnectionFailed, match=words) as caught:
            opens(connect, f"ws://127.0.0.1:{listening.getsockname()[1]}", token="s3cret")
        thread.join()
    assert caught.value.code == code
    assert "s3cret" not in str(caught.value)


async def test_a_flood_of_pings_leaves_turns_to_others() -> None:
    flood = b"\x89\x00" * 100_000  # pings without payload

    async def greet(peer: ServerConnection) -> None:
        await peer.recv()
        await peer.send(welcome())
        peer.transport.write(flood)
        await peer.wait_closed()

    async with serve(greet, "127.0.0.1", 0, subprotocols=["rowcast.v1"], ping_interval=None) as it:  # type: ignore[list-item]
        port = next(iter(it.sockets)).getsockname()[1]
        turns = 0
        async with rowcast.connect(f"ws://127.0.0.1:{port}", decode=False) as client:
            unread = client._socket
            assert unread is not None
            read = 0
            feed = unread.feed

            def count(data: bytes) -> None:
                nonlocal read
                read += len(data)
                assert len(data) <= READ_BYTES
                feed(data)

            unread.feed = count
            while read < len(flood) - 4 * READ_BYTES:
                turns += 1
                await asyncio.sleep(0)
        assert turns >= read // READ_BYTES - 8
