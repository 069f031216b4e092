"""Detokenizer files over real HTTP: ranges, conditions, caches, slow readers, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from rowcast_server.gateway.gateway import Gateway

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import until
from tests.support.web import CONTENT, FILE, HOST, SHA256, assert_shared, raw, status_of


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that no buffer takes whole."""
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    return path


@contextmanager
def asking(url: str) -> Iterator[socket.socket]:
    """A client that has asked for the file and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect((HOST, urlsplit(url).port or 0))
        client.sendall(f"GET {FILE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        yield client


async def test_a_file_is_served_whole_under_its_sha256(http: httpx.AsyncClient) -> None:
    response = await http.get(FILE)
    assert response.status_code == 200
    assert response.content == CONTENT
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert SHA256.hex() in FILE
    assert_shared(response)


async def test_a_file_may_be_cached_for_ever(http: httpx.AsyncClient) -> None:
    assert (await http.get(FILE)).headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, len(CONTENT) - 1),
        ("bytes=-10", len(CONTENT) - 10, len(CONTENT) - 1),
        (f"bytes={len(CONTENT) - 1}-", len(CONTENT) - 1, len(CONTENT) - 1),
        ("bytes=5-999999999", 5, len(CONTENT) - 1),
        ("bytes=-999999999", 0, len(CONTENT) - 1),
        ("bytes=0-", 0, len(CONTENT) - 1),
    ],
)
async def test_a_range_is_206_with_exactly_its_bytes(
    http: httpx.AsyncClient, asked: str, first: int, last: int
) -> None:
    response = await http.get(FILE, headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == CONTENT[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert "immutable" in response.headers["Cache-Control"]
    assert_shared(response)


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=999999999-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416_and_tells_the_size(
    http: httpx.AsyncClient, asked: str
) -> None:
    response = await http.get(FILE, headers={"Range": asked})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert len(response.content) < 100
    assert_shared(response)


@pytest.mark.parametrize(
    "asked",
    ["lines=1-2", "bytes=x-y", "bytes=0-1,5-6", "bytes=", "bytes", "bytes=--1", "bytes=9-5", "0-9"],
)
async def test_a_range_that_cannot_be_read_is_as_if_there_were_none(
    http: httpx.AsyncClient, asked: str
) -> None:  # RFC 9110 section 14.2
    response = await http.get(FILE, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, CONTENT)
    assert "Content-Range" not in response.headers


async def test_an_interrupted_download_is_taken_up_by_range_and_etag(
    http: httpx.AsyncClient,
) -> None:
    whole = await http.get(FILE)
    assert whole.headers["ETag"] == f'"{SHA256.hex()}"'
    resumed = await http.get(
        FILE, headers={"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]}
    )
    assert (resumed.status_code, resumed.content) == (206, CONTENT[1_000:])
    assert resumed.headers["ETag"] == whole.headers["ETag"]


@pytest.mark.parametrize(
    "condition",
    [
        '"another"',
        f'W/"{SHA256.hex()}"',  # weak: it names no bytes
        f'"{SHA256.hex()}-gzip"',
        SHA256.hex(),
        "*",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2115 07:28:00 GMT",
    ],
)
async def test_of_another_file_there_is_no_part(http: httpx.AsyncClient, condition: str) -> None:
    """RFC 9110 section 13.1.5: If-Range is compared strongly, and what does not fit gets all."""
    headers = {"Range": "bytes=1000-", "If-Range": condition}
    response = await http.get(FILE, headers=headers)
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"{}"', 200), ("*", 200), ('"other", "{}"', 200), ('"other"', 412), ('"{}-gzip"', 412)],
)
async def test_who_asks_for_a_state_that_is_not_gets_412(
    http: httpx.AsyncClient, condition: str, status: int
) -> None:
    response = await http.get(FILE, headers={"If-Match": condition.format(SHA256.hex())})
    assert response.status_code == status
    assert_shared(response)


async def test_who_has_it_gets_304_and_no_bytes(http: httpx.AsyncClient) -> None:
    first = await http.get(FILE)
    etag = first.headers["ETag"]
    for condition in (etag, "*", f'"other", {etag}', f"W/{etag}"):
        again = await http.get(FILE, headers={"If-None-Match": condition})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == first.headers["ETag"]
        assert "immutable" in again.headers["Cache-Control"]
        assert_shared(again)
    other = await http.get(FILE, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, CONTENT)


async def test_head_is_get_without_the_bytes(http: httpx.AsyncClient) -> None:
    get, head = await http.get(FILE), await http.head(FILE)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "ETag", "Cache-Control", "Content-Type", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]
    assert_shared(head)


@pytest.mark.parametrize(
    "target",
    [
        "/detokenizer/../secret.txt",
        "/detokenizer/../../secret.txt",
        "/detokenizer/%2e%2e/secret.txt",
        "/detokenizer/..%2fsecret.txt",
        "/detokenizer/..%5csecret.txt",
        "/detokenizer/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/detokenizer//etc/passwd",
        "/detokenizer/%2fetc%2fpasswd",
        "/../../../../etc/passwd",
        "/detokenizer/neighbour.onnx%00.onnx",
        "//secret.txt",
        "http://other.example/detokenizer/../secret.txt",
    ],
)
async def test_no_path_leads_out(site: tuple[Gateway, str], target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    answer = await raw(site[1], request.encode())
    assert status_of(answer) in (400, 404)
    assert b"TOP SECRET" not in answer
    assert b"root:" not in answer


async def test_head_asks_for_no_range(http: httpx.AsyncClient) -> None:  # RFC 9110 section 14.2
    response = await http.head(FILE, headers={"Range": "bytes=0-9"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))


async def test_a_file_that_is_gone_is_404_and_the_others_stay(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "served/model.onnx").unlink()
    response = await http.get(FILE)
    assert (response.status_code, "restarted" in response.text) == (404, True)
    assert_shared(response)
    assert (await http.get("/livez")).status_code == 200


async def test_a_download_that_nobody_reads_does_not_hold_up_the_end(large: Path) -> None:
    async with open_gateway(Studio(loop=asyncio.get_running_loop()), {SHA256: large}) as (
        gateway,
        url,
    ):
        with asking(url):
            await until(lambda: gateway._listener._http_connections == 1)
            async with asyncio.timeout(10):
                await gateway.close()
            await until(lambda: not gateway._listener._http_connections)


async def test_a_download_that_nobody_reads_is_cut_in_time(large: Path) -> None:
    async with open_gateway(
        Studio(loop=asyncio.get_running_loop()), {SHA256: large}, send_timeout=0.3
    ) as (gateway, url):
        with asking(url):
            await until(lambda: gateway._listener._http_connections == 1)
            await until(lambda: not gateway._listener._http_connections)


async def test_who_reads_slowly_gets_all(tmp_path: Path) -> None:
    """The time is for a piece, not for the file."""
    path = tmp_path / "model.onnx"
    content = bytes(600_000)
    path.write_bytes(content)
    async with open_gateway(
        Studio(loop=asyncio.get_running_loop()), {SHA256: path}, send_timeout=1
    ) as (_, url):
        loop, begun, got = asyncio.get_running_loop(), time.monotonic(), 0
        with asking(url) as client:
            client.setblocking(False)
            while piece := await loop.sock_recv(client, 50_000):
                got += len(piece)
                await asyncio.sleep(0.01)
        assert got > len(content)
        assert time.monotonic() - begun > 1


async def test_private_files_are_for_whom_a_token_admits(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT)
    for private, bare in ((True, 401), (False, 200)):
        async with (
            open_gateway(
                Studio(loop=asyncio.get_running_loop()),
                {SHA256: path},
                tokens=frozenset({"s3cret"}),
                private_files=private,
            ) as (_, url),
            httpx.AsyncClient(base_url=url.replace("ws", "http"), trust_env=False) as http,
        ):
            assert (await http.get(FILE)).status_code == bare
            wrong = await http.get(FILE, headers={"Authorization": "Bearer wrong"})
            assert wrong.status_code == 401
            assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="rowcast"'
            assert "s3cret" not in wrong.text
            right = await http.get(FILE, headers={"Authorization": "Bearer s3cret"})
            assert (right.status_code, right.content) == (200, CONTENT)
            assert (await http.get("/livez")).status_code == 200, "health is for everybody"


async def test_where_no_token_is_asked_for_private_files_are_for_all(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT)
    async with (
        open_gateway(
            Studio(loop=asyncio.get_running_loop()), {SHA256: path}, private_files=True
        ) as (_, url),
        httpx.AsyncClient(base_url=url.replace("ws", "http"), trust_env=False) as http,
    ):
        assert (await http.get(FILE)).content == CONTENT
