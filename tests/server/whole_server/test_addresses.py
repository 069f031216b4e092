"""The URLs of a server: those of `welcome` (R-52), and its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from rowcast.messages import Done, Rows, Welcome, decode_server
from rowcast_server.models.loading import load
from rowcast_server.server import RowcastServer

from tests.support.drawn import assert_whole, draw
from tests.support.raw_client import (
    HELLO,
    BareSocket,
)
from tests.support.servers import TEST_CONFIG, running_server


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


IPV6 = has_ipv6()


def url_of(server: RowcastServer, host: str | None = None) -> str:
    """The URL of the first file that `welcome` tells to who came by this name."""
    with BareSocket(server.ws_url, host=host) as client:
        assert " 101 " in client.status
        client.send(HELLO, None, "url")
        ((*_, files),) = client.receive()[2]
        return str(files[0][4])


class TestAddresses:
    """The URLs of `welcome` (R-52)."""

    @pytest.mark.parametrize("host", [None, "127.0.0.1", "LocalHost:1", "[2001:db8::7]"])
    async def test_they_are_beside_the_websocket(
        self, tiny_server: RowcastServer, host: str | None
    ) -> None:
        url = await asyncio.to_thread(url_of, tiny_server, host)
        assert url.startswith("detokenizer/")
        assert tiny_server.http_url == tiny_server.ws_url.replace("ws", "http")
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"{tiny_server.http_url}/{url}")
        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("evil.example", 421),
            ("127.0.0.1.evil.example:8765", 421),
            ("[::1", 400),
            ("x:y:z", 400),
            ("@", 400),
            ("a/b?c#d", 400),
        ],
    )
    def test_who_comes_by_another_name_comes_to_nothing(
        self, tiny_server: RowcastServer, host: str, status: int
    ) -> None:
        with BareSocket(tiny_server.ws_url, host=host) as client:
            assert f" {status} " in client.status

    async def test_on_a_port_of_their_own_they_are_at_the_host_by_which_the_client_came(
        self, tiny_folder: Path
    ) -> None:
        settings: dict[str, Any] = {"http_port": 0, "allow_hosts": ("pictures.example.org",)}
        with running_server(tiny_folder, **settings) as server:
            port = server.http_url.rpartition(":")[2]
            assert port != server.ws_url.rpartition(":")[2]
            for host, expected in (
                (None, "http://127.0.0.1:{port}/"),
                ("pictures.example.org", "http://pictures.example.org:{port}/"),
                ("Pictures.Example.org:8765", "http://pictures.example.org:{port}/"),
                ("LocalHost:1", "http://localhost:{port}/"),
                ("[::1]:8765", "http://[::1]:{port}/"),
                ("[2001:db8::7]", "http://[2001:db8::7]:{port}/"),
            ):
                url = await asyncio.to_thread(url_of, server, host)
                assert url.startswith(expected.format(port=port) + "detokenizer/")
            async with httpx.AsyncClient(trust_env=False) as http:
                url = await asyncio.to_thread(url_of, server)
                assert (await http.get(url)).status_code == 200
            assert_whole(await draw(server))

    @pytest.mark.parametrize("public", ["https://pictures.example.org/x", "https://cdn.example/"])
    @pytest.mark.parametrize("http_port", [None, 0])
    def test_a_public_url_goes_before_both(
        self, tiny_folder: Path, public: str, http_port: int | None
    ) -> None:
        with running_server(tiny_folder, public_url=public, http_port=http_port) as server:
            for host in (None, public.split("/")[2]):  # by which it may be come by, too
                assert url_of(server, host).startswith(public.rstrip("/") + "/detokenizer/")
            assert server.http_url.startswith("http://127.0.0.1:"), "that of this machine"

    async def test_every_address_of_the_machine_is_told_as_its_own(self, tiny_folder: Path) -> None:
        with running_server(tiny_folder, host="0.0.0.0", open=True) as server:
            assert server.ws_url.startswith("ws://127.0.0.1:")
            assert server.http_url == server.ws_url.replace("ws", "http")
            assert server.summary[1].endswith(", and by the addresses of 0.0.0.0")
            assert_whole(await draw(server))

    @pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
    async def test_an_ipv6_address_is_in_brackets_and_works(self, tiny_folder: Path) -> None:
        with running_server(tiny_folder, host="::1") as server:
            assert server.ws_url.startswith("ws://[::1]:")
            assert server.http_url.startswith("http://[::1]:")
            assert_whole(await draw(server))
            async with httpx.AsyncClient(trust_env=False) as http:
                url = await asyncio.to_thread(url_of, server)
                assert (await http.get(f"{server.http_url}/{url}")).status_code == 200


async def test_there_is_no_address_before_it_listens(tiny_folder: Path) -> None:
    server = RowcastServer(load(str(tiny_folder)), TEST_CONFIG)
    for name in ("ws_url", "http_url"):
        with pytest.raises(RuntimeError, match="has not been started"):
            getattr(server, name)
    await server.close()  # what was never started can be closed


async def test_every_frame_that_was_sent_is_shown_to_the_hook(tiny_folder: Path) -> None:
    frames: list[bytes] = []
    server = RowcastServer(load(str(tiny_folder)), TEST_CONFIG, on_frame_sent=frames.append)
    await server.start()
    picture = await draw(server)
    await server.close()
    sent = [message for frame in frames if (message := decode_server(frame)) is not None]
    assert isinstance(sent[0], Welcome)
    assert b"".join(message.ids for message in sent if isinstance(message, Rows)) == picture.ids
    assert isinstance(sent[-1], Done)
