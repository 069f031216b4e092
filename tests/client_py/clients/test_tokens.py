"""Both clients, and servers that ask who comes: tokens that end, files that are private, other
hosts."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rowcast
from rowcast.errors import ConnectionFailed, ConnectionLost, InvalidRequest, RequestRefused
from rowcast.messages import CloseCode, DoneReason
from rowcast.pixels.artifacts import fetch
from rowcast.transport import READ_BYTES, ReadsInPieces
from rowcast_server.access import sign_token
from rowcast_server.server import RowcastServer
from websockets.asyncio.server import ServerConnection, serve

from tests.support.client.clients import PROMPT, first_rows, opens
from tests.support.client.shells import Connect
from tests.support.fake_server import Peer, fake_server, welcome
from tests.support.pace import Gate, paced_server
from tests.support.servers import running_server
from tests.support.site import CONTENT, Handler, sends, site

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


@pytest.mark.parametrize(
    ("server", "sent"), [("ws://127.0.0.1:1", "Bearer mine"), ("ws://localhost:1", None)]
)
def test_a_token_goes_to_the_servers_own_host_alone(
    server: str, sent: str | None, tmp_path: Path
) -> None:
    seen: list[str | None] = []

    def answer(request: Handler) -> None:
        seen.append(request.headers.get("Authorization"))
        sends(CONTENT)(request)

    with site(answer) as other:
        fetch(other.file(), server, ["127.0.0.1"], tmp_path, token="mine")
    assert seen == [sent]


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


@pytest.mark.parametrize("made", [7, "x" * 1_025, "", "\ud800"])
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


@pytest.mark.parametrize("path", ["", "/pictures/"])
def test_who_is_led_to_another_server_gives_it_no_token(connect: Connect, path: str) -> None:
    heard: list[object] = []

    async def listen(peer: Peer) -> None:
        heard.append(await peer.receive())

    with fake_server(listen) as other, socket.create_server(("127.0.0.1", 0)) as listening:
        location = other.url.replace("ws://", "ws://alice:s3cret@") + path

        def redirect() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"
                connection.sendall(answer.encode())

        thread = threading.Thread(target=redirect)
        thread.start()
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match=f"leads elsewhere: to {other.url}") as caught:
            opens(connect, url, token="mine")
        thread.join()
    assert heard == []
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
            assert isinstance(unread, ReadsInPieces)
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
