"""The HTTP side over real HTTP: ranges, conditions, caches, other origins, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from rowcast_server.gateway.web import WebServer, file_name, make_app

HOST = "127.0.0.1"
CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).digest()
FILE = f"/{file_name(SHA256)}"


class Ready:
    """What `/readyz` asks."""

    now = True


@pytest.fixture
def ready() -> Ready:
    return Ready()


@pytest.fixture
async def port(tmp_path: Path, ready: Ready) -> AsyncIterator[int]:
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.onnx").write_bytes(CONTENT)
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    (served / "neighbour.onnx").write_text("TOP SECRET")
    app = make_app({SHA256: served / "model.onnx"}, lambda: ready.now)
    server = WebServer(app, "127.0.0.1", 0)
    yield await server.start()
    await server.close()


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client


async def raw(port: int, target: str) -> bytes:
    """The answer to a request whose target no client library would send as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def assert_shared(response: httpx.Response) -> None:
    """Any page may read it, also one that is cross-origin isolated."""
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Timing-Allow-Origin"] == "*"
    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Content-Length", "Content-Range", "ETag"} <= set(exposed)


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


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=999999999-", "bytes=9-5"])
async def test_a_range_beyond_the_end_is_416_and_tells_the_size(
    http: httpx.AsyncClient, asked: str
) -> None:
    response = await http.get(FILE, headers={"Range": asked})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert len(response.content) < 100
    assert_shared(response)


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=x-y", "bytes=0-1,5-6", "bytes="])
async def test_a_range_that_cannot_be_read_is_416(http: httpx.AsyncClient, asked: str) -> None:
    response = await http.get(FILE, headers={"Range": asked})
    assert response.status_code == 416
    assert len(response.content) < 100


async def test_an_interrupted_download_is_taken_up_by_range_and_etag(
    http: httpx.AsyncClient,
) -> None:
    whole = await http.get(FILE)
    resumed = await http.get(
        FILE, headers={"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]}
    )
    assert (resumed.status_code, resumed.content) == (206, CONTENT[1_000:])


async def test_who_has_it_gets_304_and_no_bytes(http: httpx.AsyncClient) -> None:
    first = await http.get(FILE)
    for etag in (first.headers["ETag"], "*", f'"other", {first.headers["ETag"]}'):
        again = await http.get(FILE, headers={"If-None-Match": etag})
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


@pytest.mark.parametrize("path", [FILE, "/livez", "/readyz"])
async def test_a_page_may_ask_first_whether_it_may_ask(http: httpx.AsyncClient, path: str) -> None:
    """A preflight of the Fetch standard, as browsers send for any header that is not plain."""
    asked = {
        "Origin": "https://pictures.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-range,range,x-of-its-own",
    }
    response = await http.options(path, headers=asked)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"if-range", "range", "if-none-match", "*"} <= set(allowed)
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert_shared(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, FILE, content=b"x")
    assert response.status_code == 405
    assert_shared(response)
    assert (await http.get(FILE)).content == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/detokenizer/",
        "/detokenizer/" + "0" * 64 + ".onnx",
        FILE.upper(),
        FILE.removesuffix(".onnx"),
        FILE + "/",
        "/" + FILE,
        "/detokenizer/neighbour.onnx",
        "/favicon.ico",
    ],
)
async def test_what_there_is_not_is_404_for_every_origin(
    http: httpx.AsyncClient, path: str
) -> None:
    response = await http.get(path)
    assert response.status_code == 404
    assert_shared(response)


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
async def test_no_path_leads_out(port: int, target: str) -> None:
    answer = await raw(port, target)
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert b"TOP SECRET" not in answer
    assert b"root:" not in answer


async def test_health_says_live_always_and_ready_when_it_is(
    http: httpx.AsyncClient, ready: Ready
) -> None:
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200
    ready.now = False
    assert (await http.get("/livez")).status_code == 200
    assert (await http.get("/readyz")).status_code == 503


async def test_a_server_that_was_never_started_can_be_closed() -> None:
    await WebServer(make_app({}, lambda: True), "127.0.0.1", 0).close()


async def test_a_download_that_nobody_reads_does_not_hold_up_the_end(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    server = WebServer(make_app({SHA256: path}, lambda: True), HOST, 0)
    port = await server.start()
    with socket.create_connection((HOST, port)) as deaf:
        deaf.sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await server.close()
