"""A gateway over a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from rowcast_server.gateway.gateway import Gateway

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import (
    until,
)
from tests.support.web import CONTENT, SHA256


@pytest.fixture
async def place() -> AsyncIterator[tuple[Studio, str]]:
    """A studio and the URL of its gateway; nobody is left in it afterwards."""
    studio = Studio(loop=asyncio.get_running_loop(), grace=0.05)
    async with open_gateway(studio) as (gateway, url):
        yield studio, url
        await until(lambda: not gateway._websocket._sessions)
        assert not any(picture.viewers for picture in studio.book._by_name.values())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway with one file, secrets beside it, and its URL for HTTP."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.onnx").write_bytes(CONTENT)
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    (served / "neighbour.onnx").write_text("TOP SECRET")
    files = {SHA256: served / "model.onnx"}
    async with open_gateway(Studio(loop=asyncio.get_running_loop()), files) as (gateway, url):
        yield gateway, url.replace("ws", "http")


@pytest.fixture
async def http(site: tuple[Gateway, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `site`, which takes no compressed files."""
    headers = {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(base_url=site[1], headers=headers, trust_env=False) as client:
        yield client
