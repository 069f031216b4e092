"""The page over real HTTP: its files as browsers want them, and a server without one."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.fakes import Studio, open_gateway
from tests.support.web import assert_shared

SCRIPT = b"console.log('rows');" * 40
WASM = b"\0asm" + bytes(4_000)


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
async def browser(studio: Studio, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    for name, content in {
        "index.html": b"<!doctype html>",
        "cost.html": b"<!doctype html><title>What it costs",
        "assets/page-1a2b.js": SCRIPT,
        "assets/page-1a2b.js.gz": gzip.compress(SCRIPT),
        "client/element.js": SCRIPT,
        "runtime/one/runtime.wasm": WASM,
        "runtime/one/notes.txt": b"not for anyone",
    }.items():
        path = tmp_path / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    async with (
        open_gateway(studio, page=tmp_path / "page") as (_, url),
        httpx.AsyncClient(base_url=url.replace("ws", "http", 1)) as client,
    ):
        yield client


async def test_the_page_is_asked_for_anew_and_may_run_its_own_scripts_alone(
    browser: httpx.AsyncClient,
) -> None:
    response = await browser.get("/")
    assert (response.status_code, response.content) == (200, b"<!doctype html>")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert "script-src 'self' 'wasm-unsafe-eval'" in policy
    assert "default-src 'self'" in policy
    again = await browser.get("/", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert_shared(response)


async def test_the_calculator_is_a_document_like_the_page_at_one_path(
    browser: httpx.AsyncClient,
) -> None:
    page, cost = await browser.get("/"), await browser.get("/cost?pictures=3")
    assert (cost.status_code, cost.content) == (200, b"<!doctype html><title>What it costs")
    same = ("Content-Type", "Cache-Control", "Content-Security-Policy", "Referrer-Policy")
    for name in (*same, "X-Frame-Options", "X-Content-Type-Options"):
        assert cost.headers.get(name) == page.headers.get(name)
    assert "script-src 'self'" in cost.headers["Content-Security-Policy"]
    again = await browser.get("/cost", headers={"If-None-Match": cost.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert_shared(cost)


async def test_what_the_page_needs_comes_compressed_and_may_be_kept(
    browser: httpx.AsyncClient,
) -> None:
    response = await browser.get("/assets/page-1a2b.js")
    assert response.content == SCRIPT
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) == len(gzip.compress(SCRIPT)) < len(SCRIPT)
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    plain = await browser.get("/assets/page-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert (plain.content, "Content-Encoding" in plain.headers) == (SCRIPT, False)


async def test_the_client_for_other_pages_is_theirs_and_is_asked_for_anew(
    browser: httpx.AsyncClient,
) -> None:
    response = await browser.get("/client/element.js")
    assert (response.status_code, response.content) == (200, SCRIPT)
    assert response.headers["Cache-Control"] == "no-cache"
    assert_shared(response)


async def test_a_runtime_comes_as_webassembly_also_in_parts(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/runtime/one/runtime.wasm", headers={"Range": "bytes=0-3"})
    assert (response.status_code, response.content) == (206, b"\0asm")
    assert response.headers["Content-Type"] == "application/wasm"


@pytest.mark.parametrize(
    "path",
    [
        *("/index.html", "/cost.html", "/cost/", "/Cost", "/assets/cost"),
        *("/assets/", "/assets/page-1a2b.js.gz", "/runtime/one/notes.txt", "/x"),
    ],
)
async def test_nothing_else_of_the_folder_is_given(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 404


async def test_a_page_of_before_the_calculator_has_none(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"<!doctype html>")
    async with open_gateway(studio, page=tmp_path) as (_, url), httpx.AsyncClient() as client:
        address = url.replace("ws", "http", 1)
        assert (await client.get(address)).status_code == 200
        assert (await client.get(f"{address}/cost")).status_code == 404


async def test_a_server_without_a_page_says_how_to_get_one(studio: Studio) -> None:
    async with open_gateway(studio) as (_, url), httpx.AsyncClient() as client:
        response = await client.get(url.replace("ws", "http", 1))
    assert response.status_code == 404
    assert "make page" in response.text
