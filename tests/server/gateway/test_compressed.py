"""Compression of what is served to pages: once, for those who take it, never of a range."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from rowcast_server.gateway.compressed import compress
from rowcast_server.gateway.gateway import Gateway

from tests.support.web import CONTENT, FILE, SHA256, assert_shared


@pytest.fixture
async def http(site: tuple[Gateway, str], cache: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site[1], trust_env=False) as client:
        yield client


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROWCAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(cache: Path) -> list[Path]:
    return list(cache.rglob("*.gz"))


async def compressed(http: httpx.AsyncClient) -> httpx.Response:
    """The file as gzip: who asks before it is there does not wait for it."""
    async with asyncio.timeout(20):
        while "Content-Encoding" not in (response := await http.get(FILE)).headers:
            assert response.content == CONTENT
            await asyncio.sleep(0.01)
    return response


async def test_a_whole_file_goes_out_compressed_to_whom_takes_it(http: httpx.AsyncClient) -> None:
    response = await compressed(http)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.content == CONTENT
    assert int(response.headers["Content-Length"]) < len(CONTENT) // 10
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "immutable" in response.headers["Cache-Control"]
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert_shared(response)
    head = await http.head(FILE)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == response.headers["Content-Length"]


@pytest.mark.parametrize("taken", ["identity", "br", "gzip;q=0", "gzip; q=0.000, br", ""])
async def test_who_does_not_take_gzip_gets_the_file(http: httpx.AsyncClient, taken: str) -> None:
    await compressed(http)
    response = await http.get(FILE, headers={"Accept-Encoding": taken})
    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.content == CONTENT


@pytest.mark.parametrize("taken", ["gzip", "deflate, GZIP;q=0.5", "br;q=1, x-gzip"])
async def test_however_it_is_said(http: httpx.AsyncClient, taken: str) -> None:
    await compressed(http)
    response = await http.get(FILE, headers={"Accept-Encoding": taken})
    assert response.headers["Content-Encoding"] == "gzip"


async def test_a_range_is_of_the_file_itself(http: httpx.AsyncClient) -> None:
    """And by what came compressed nobody can ask for a range that would not fit it."""
    whole = await compressed(http)
    assert whole.headers["ETag"] == f'"{SHA256.hex()}-gzip"'
    assert "Last-Modified" not in whole.headers
    assert whole.headers["Accept-Ranges"] == "none"
    part = await http.get(FILE, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, CONTENT[1_000:2_000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert "Content-Encoding" not in part.headers
    headers = {"Range": "bytes=1000-1999", "If-Range": whole.headers["ETag"]}
    all_of_it = await http.get(FILE, headers=headers)
    assert (all_of_it.status_code, all_of_it.content) == (200, CONTENT)


async def test_who_has_it_compressed_gets_304_and_who_has_the_file_does_not(
    http: httpx.AsyncClient,
) -> None:
    whole = await compressed(http)
    again = await http.get(FILE, headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await http.get(FILE, headers={"If-None-Match": f'"{SHA256.hex()}"'})
    assert (other.status_code, other.content) == (200, CONTENT)


async def test_it_is_kept_and_found_again(http: httpx.AsyncClient, cache: Path) -> None:
    await compressed(http)
    (kept,) = files_in(cache)
    assert gzip.decompress(kept.read_bytes()) == CONTENT
    kept.unlink()  # swept, while the server runs
    response = await http.get(FILE)
    assert (response.content, "Content-Encoding" in response.headers) == (CONTENT, False)


def test_what_gzip_does_not_make_smaller_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    path.write_bytes(random.Random(1).randbytes(100_000))
    compress(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


async def test_without_a_cache_files_go_out_as_they_are(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(*_: object) -> Path:
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rowcast_server.gateway.compressed.cached_folder", fail)
    assert (await http.get(FILE)).content == CONTENT
    assert await asyncio.to_thread(tried.wait, 20)
    response = await http.get(FILE)
    assert (response.content, "Content-Encoding" in response.headers) == (CONTENT, False)
