"""The URLs of a server: those of `welcome` (R-52), and its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

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


class TestAddresses:
    """The URLs of `welcome` (R-52)."""

    @staticmethod
    def url(server: RowcastServer, host: str | None = None) -> str:
        with BareSocket(server.ws_url, host=host) as client:
            assert " 101 " in client.status
            client.send(HELLO, None, "url")
            ((*_, files),) = client.receive()[2]
            return str(files[0][4])

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            (None, "http://127.0.0.1:{port}/"),
            ("pictures.example.org", "http://pictures.example.org:{port}/"),
            ("pictures.example.org:8765", "http://pictures.example.org:{port}/"),
            ("LocalHost:1", "http://localhost:{port}/"),
            ("[::1]:8765", "http://[::1]:{port}/"),
            ("[2001:db8::7]", "http://[2001:db8::7]:{port}/"),
            ("[::1", "http://127.0.0.1:{port}/"),
            ("x:y:z", "http://x:{port}/"),
            ("@", "http://127.0.0.1:{port}/"),
            ("a/b?c#d", "http://a:{port}/"),
        ],
    )
    def test_they_are_at_the_host_by_which_the_client_came(
        self, tiny_server: RowcastServer, host: str | None, expected: str
    ) -> None:
        port = tiny_server.http_url.rpartition(":")[2]
        assert self.url(tiny_server, host).startswith(expected.format(port=port) + "detokenizer/")

    async def test_they_can_be_fetched(self, tiny_server: RowcastServer) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(await asyncio.to_thread(self.url, tiny_server))
        assert response.status_code == 200

    @pytest.mark.parametrize("public", ["https://pictures.example.org/x", "https://cdn.example/"])
    def test_a_public_url_replaces_it(self, tiny_folder: Path, public: str) -> None:
        with running_server(tiny_folder, public_url=public) as server:
            url = self.url(server, "127.0.0.1:1")
            assert url.startswith(public.rstrip("/") + "/detokenizer/")
            assert server.http_url == public.rstrip("/")

    @pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
    async def test_an_ipv6_address_is_in_brackets_and_works(self, tiny_folder: Path) -> None:
        with running_server(tiny_folder, host="::1") as server:
            assert server.ws_url.startswith("ws://[::1]:")
            assert server.http_url.startswith("http://[::1]:")
            assert_whole(await draw(server))
            async with httpx.AsyncClient(trust_env=False) as http:
                url = await asyncio.to_thread(self.url, server)
                assert (await http.get(url)).status_code == 200


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
