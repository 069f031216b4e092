"""Both clients: what is said of a wrong argument, a wrong address, a foreign server."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rowcast
from rowcast.errors import (
    ConnectionFailed,
    InvalidRequest,
    ProtocolError,
    RequestRefused,
)
from rowcast.messages import CloseCode
from rowcast.picture import Picture
from rowcast_server.server import RowcastServer

from tests.support.client.clients import PROMPT, draws_another, opens
from tests.support.client.shells import AsyncShell, Connect
from tests.support.fake_server import (
    Peer,
    accepted,
    done,
    fake_server,
    rows,
)
from tests.support.pace import paced_server
from tests.support.servers import running_server

pytestmark = pytest.mark.timeout(40)  # a client that waits for ever must fail, not hang


# What a caller gets wrong


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "x" * 10_000}, "10000 bytes"),
        ({"prompt": "a \ud800"}, "no valid text"),
        ({"images": 0}, "images must be"),
        ({"images": 1_000}, "images must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"model": "other"}, "unknown model 'other'"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"stop_row": 0}, "stop_row must be"),
        ({"stop_row": 17}, "stop_row must be"),
        ({"seamless": "yes"}, "seamless must be True or False, not 'yes'"),
        ({"colour": 1}, "options are prompt, images, seamless, .*; there is no colour"),
    ],
)
def test_a_request_that_cannot_be_is_told_at_once(
    connect: Connect, tiny_server: RowcastServer, arguments: dict[str, Any], fault: str
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        with pytest.raises(InvalidRequest, match=fault):
            client.pictures(**({"prompt": PROMPT} | arguments))
        draws_another(client)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"prefix": b"\0"}, "bad_prefix"),
        ({"prefix": b"\xff" * 8}, "bad_prefix"),
        ({"prefix": bytes(16), "stop_row": 2}, "bad_prefix"),
        ({"revision": bytes(8)}, "wrong_revision"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(
    connect: Connect, tiny_server: RowcastServer, arguments: dict[str, Any], code: str
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        with pytest.raises(RequestRefused) as caught:
            client.pictures(PROMPT, **arguments)
        assert caught.value.code == code
        assert caught.value.retry_seconds is None
        draws_another(client)


def test_a_full_server_says_when_to_try_again(connect: Connect, tiny_folder: Path) -> None:
    with (
        paced_server(tiny_folder, slots=1, queue_limit=1) as (server, gate),
        connect(server.ws_url, decode=False) as other,
        connect(server.ws_url, decode=False, wait_when_busy=0) as client,
    ):
        events = other.generate(PROMPT, 2)
        next(events)
        with pytest.raises(RequestRefused) as caught:
            client.pictures(PROMPT, 2)
        assert caught.value.code == "busy"
        assert caught.value.retry_seconds is not None
        gate.open()
        list(events)
        draws_another(client)


def test_a_proxy_that_is_not_there_is_named(connect: Connect, tiny_server: RowcastServer) -> None:
    with pytest.raises(ConnectionFailed) as failure:
        opens(connect, tiny_server.ws_url, proxy="http://user:secret@127.0.0.1:1")
    assert f"{tiny_server.ws_url} by the proxy http://***@127.0.0.1:1 cannot" in str(failure.value)


def test_what_is_no_picture_is_told_at_once(
    connect: Connect, tiny_server: RowcastServer, tmp_path: Path
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        (done,) = client.pictures(PROMPT, stop_row=2)
        for wrong, kind in ((done, "PictureDone"), ("a.rows", "str")):
            with pytest.raises(InvalidRequest, match=f"picture must be a Picture, not {kind}"):
                list(client.continue_picture(cast(Picture, wrong)))
            with pytest.raises(InvalidRequest, match=r"an event's is event\.picture"):
                rowcast.save_rows(cast(Picture, wrong), tmp_path / "b.rows")
        assert list(tmp_path.iterdir()) == []


def test_a_rows_file_is_named_by_a_path_or_a_text(
    connect: Connect, tiny_server: RowcastServer, tmp_path: Path
) -> None:
    name = f"{tmp_path}/a.rows"
    with connect(tiny_server.ws_url, decode=False) as client:
        (done,) = client.pictures(PROMPT, stop_row=2)
    rowcast.save_rows(done.picture, name)
    assert rowcast.load_rows(name).rows_held == rowcast.load_rows(Path(name)).rows_held == 2


def test_a_client_is_used_in_a_with_block(connect: Connect, tiny_server: RowcastServer) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        session = client.session
    assert session.active == ()
    never_opened = rowcast.connect_sync(tiny_server.ws_url)
    with pytest.raises(ConnectionFailed, match="with"):
        next(never_opened.generate(PROMPT))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"url": None}, "url must be text"),
        ({"url": Path("ws:")}, "url must be text"),
        ({"token": b"t"}, "token must be text"),
        ({"threads": -1}, "threads must be a whole number"),
        ({"threads": "2"}, "threads must be a whole number"),
        ({"open_timeout": "soon"}, "open_timeout must be a number of seconds"),
        ({"reconnect": None}, "reconnect must be a number of seconds"),
        ({"reconnect": -1}, "reconnect must be a number of seconds"),
        ({"wait_when_busy": math.nan}, "wait_when_busy must be a number of seconds"),
        ({"wait_when_busy": True}, "wait_when_busy must be a number of seconds"),
        ({"allowed_hosts": "files.test"}, r"allowed_hosts are several: \['files.test'\]"),
        ({"quality": None}, "quality must be one of"),
        ({"decode": "no"}, "decode must be True or False, not 'no'"),
        ({"providers": "cpu"}, "providers must be some of"),
    ],
)
@pytest.mark.parametrize("open_client", [rowcast.AsyncClient, rowcast.connect_sync])
def test_an_argument_of_a_client_that_cannot_be_is_told_by_name(
    open_client: Any, arguments: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        open_client(**({"url": "ws://127.0.0.1:1"} | arguments))


def test_times_and_threads_may_be_of_other_libraries_and_have_no_end(
    connect: Connect, tiny_server: RowcastServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"threads": np.int64(1), "cache": str(tmp_path / "kept")}
    times = dict.fromkeys(("open_timeout", "reconnect", "wait_when_busy"), math.inf)
    with connect(tiny_server.ws_url, **options, **times) as client:
        draws_another(client)
    assert list((tmp_path / "kept").iterdir())
    with connect(tiny_server.ws_url, decode=False, open_timeout=np.float32(9)) as client:
        draws_another(client)


def test_a_client_that_is_open_is_not_entered_again(
    connect: Connect, tiny_server: RowcastServer
) -> None:
    with connect(tiny_server.ws_url, decode=False) as client:
        inner = client.client if isinstance(client, AsyncShell) else client
        with pytest.raises(ConnectionFailed, match="open already"):
            enter(inner)
        draws_another(client)
    with pytest.raises(ConnectionFailed, match="closed already"):
        enter(inner)


def enter(client: rowcast.AsyncClient | rowcast.SyncClient) -> None:
    if isinstance(client, rowcast.AsyncClient):
        asyncio.run(client.__aenter__())
    else:
        client.__enter__()


def test_a_closed_client_says_so(tiny_server: RowcastServer) -> None:
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        pass
    with pytest.raises(ConnectionFailed, match="closed"):
        next(client.generate(PROMPT))

    async def asynchronous() -> None:
        async with rowcast.connect(tiny_server.ws_url, decode=False) as client:
            pass
        with pytest.raises(ConnectionFailed, match="closed"):
            await anext(client.generate(PROMPT))

    asyncio.run(asynchronous())


def test_a_synchronous_client_that_another_thread_uses_says_so() -> None:
    asked, refused = threading.Event(), threading.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send(accepted())
        asked.set()
        await asyncio.to_thread(refused.wait, 20)
        await peer.send(rows(0, 4), done())
        await peer.connection.wait_closed()

    with fake_server(script) as fake, rowcast.connect_sync(fake.url, decode=False) as client:
        other = threading.Thread(target=client.pictures, args=(PROMPT,))
        other.start()
        assert asked.wait(10)
        time.sleep(0.2)  # until it waits for the first row
        with pytest.raises(ConnectionFailed, match="by another thread; make another"):
            client.pictures(PROMPT)
        refused.set()
        other.join(10)
        assert not other.is_alive()


# No server, or none of ours


@pytest.mark.parametrize(
    "url",
    ["localhost:8765", "http://127.0.0.1:1", "", "ws://", "ws://h:99999", "ws://h:x", "ws://[::1"],
)
def test_an_address_that_is_none(connect: Connect, url: str) -> None:
    with pytest.raises(InvalidRequest, match="use ws://host:port"):
        opens(connect, url)


def test_nothing_listens(connect: Connect) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="is the server running, is the port right"):
            opens(connect, url)


def test_the_http_port_instead_of_the_websocket(connect: Connect, tiny_folder: Path) -> None:
    with running_server(tiny_folder, http_port=0) as server:
        url = server.http_url.replace("http", "ws")
        with pytest.raises(ConnectionFailed, match="this is the HTTP port; --port has"):
            opens(connect, url)


def test_wss_where_there_is_no_tls(connect: Connect, tiny_server: RowcastServer) -> None:
    url = tiny_server.ws_url.replace("ws:", "wss:")
    with pytest.raises(ConnectionFailed, match="does it speak TLS"):
        opens(connect, url)


def test_something_that_never_answers(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ConnectionFailed, match="does not answer"):
            opens(connect, url, open_timeout=0.3)
        assert time.monotonic() - begun < 5


def test_a_websocket_that_is_not_ours(connect: Connect) -> None:
    closed: list[int | None] = []

    async def script(peer: Peer) -> None:
        await peer.connection.wait_closed()
        closed.append(peer.connection.close_code)

    with (
        fake_server(script, subprotocol=None) as fake,
        pytest.raises(ConnectionFailed, match="but not rowcast") as caught,
    ):
        opens(connect, fake.url)
    assert (closed, caught.value.code) == ([CloseCode.VERSION], CloseCode.VERSION)


def test_a_welcome_that_never_comes(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.connection.wait_closed()

    with fake_server(script) as fake, pytest.raises(ConnectionFailed, match="does not answer"):
        opens(connect, fake.url, open_timeout=0.3)


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (rows(0), "no welcome"),
        (b"garbage", "not a message"),
        ("hello", "text frame"),
        (bytes(70_000), "cannot be read"),
    ],
)
def test_a_first_frame_that_is_no_welcome(connect: Connect, frame: bytes | str, fault: str) -> None:
    closed: list[int | None] = []

    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(frame)
        await peer.connection.wait_closed()
        closed.append(peer.connection.close_code)

    with fake_server(script) as fake, pytest.raises(ProtocolError, match=fault):
        opens(connect, fake.url)
    assert closed == [1009 if len(frame) == 70_000 else CloseCode.MALFORMED]


def test_a_token_is_asked_for(connect: Connect, tiny_folder: Path) -> None:
    with running_server(tiny_folder, tokens=frozenset({"open"})) as server:
        for token in (None, "wrong"):
            with pytest.raises(ConnectionFailed, match="token") as caught:
                opens(connect, server.ws_url, token=token)
            assert caught.value.code == CloseCode.BAD_TOKEN
        with connect(server.ws_url, token="open") as client:
            draws_another(client)
