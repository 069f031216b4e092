"""Whom the gateway answers, and how it tells what it does not do."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from rowcast.openai_gateway import app
from rowcast.openai_gateway.studio import Studio
from rowcast_server.server import RowcastServer

from tests.support.client.openai_calls import PROMPT, gateway, sdk

APP = "https://app.example.org"


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }


async def test_pages_that_are_admitted_may_call_it(tiny_server: RowcastServer) -> None:
    async with gateway(tiny_server.ws_url, origins=[APP]) as url, httpx.AsyncClient() as page:
        address = f"{url}/images/generations"
        asked = await page.options(address, headers=preflight(APP))
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == APP
        assert asked.headers["access-control-allow-methods"] == "GET, POST"
        allowed = asked.headers["access-control-allow-headers"]
        assert allowed == "authorization,content-type,x-stainless-os"
        for body in ({"prompt": PROMPT}, {"prompt": PROMPT, "stream": True}, {}):
            answer = await page.post(address, json=body, headers={"Origin": APP})
            assert answer.status_code == (200 if body else 400)
            assert answer.headers["access-control-allow-origin"] == APP
            assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origins", [[], [APP]])
async def test_pages_of_elsewhere_may_not(tiny_server: RowcastServer, origins: list[str]) -> None:
    """Else every page that a user visits could draw on the server of that user's machine."""
    async with gateway(tiny_server.ws_url, origins=origins) as url, httpx.AsyncClient() as page:
        address, other = f"{url}/images/generations", "https://evil.example"
        asked = await page.options(address, headers=preflight(other))
        answer = await page.post(address, json={"prompt": PROMPT}, headers={"Origin": other})
    for refused in (asked, answer):
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        assert "--allow-origin" in refused.json()["error"]["message"]


async def test_a_star_admits_all_pages(tiny_server: RowcastServer) -> None:
    async with gateway(tiny_server.ws_url, origins=["*"]) as url, httpx.AsyncClient() as page:
        answer = await page.get(f"{url}/models", headers={"Origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)


async def test_what_it_does_not_do_is_told_in_the_sdk_s_own_errors(
    tiny_server: RowcastServer,
) -> None:
    async with sdk(tiny_server.ws_url) as client:
        with pytest.raises(openai.NotFoundError, match="from text") as caught:
            await client.images.edit(image=b"image", prompt=PROMPT)
        assert caught.value.code == "not_supported"
        with (
            pytest.raises(openai.NotFoundError, match="from text"),
            pytest.warns(DeprecationWarning, match="deprecated"),
        ):
            await client.images.create_variation(image=b"image")
        with pytest.raises(openai.NotFoundError, match="there are /v1/images/generations and"):
            await client.embeddings.create(model="any", input="text")


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "words"),
    [
        ("GET", "/images/generations", b"", 405, "takes POST"),
        ("POST", "/images/generations", b"{", 400, "the body is no JSON: Input data was truncated"),
        ("POST", "/images/generations", b"x" * (app.MOST_BYTES + 1), 413, "at most 65,536 bytes"),
    ],
)
async def test_requests_that_are_none(
    tiny_server: RowcastServer, method: str, path: str, content: bytes, status: int, words: str
) -> None:
    async with gateway(tiny_server.ws_url) as url, httpx.AsyncClient() as caller:
        answer = await caller.request(method, f"{url}{path}", content=content)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"


async def test_a_fault_of_ours_is_told_as_one_and_logged(
    tiny_server: RowcastServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Studio, "load", failing)
    async with sdk(tiny_server.ws_url) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(prompt=PROMPT)
    assert "secret" not in str(caught.value)
    assert "a request failed" in caplog.text


async def test_it_is_alive(tiny_server: RowcastServer) -> None:
    async with gateway(tiny_server.ws_url) as url, httpx.AsyncClient() as caller:
        answer = await caller.get(url.removesuffix("/v1") + "/livez")
    assert (answer.status_code, answer.text) == (200, "live\n")
