"""A gateway over a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.fakes import Studio, open_gateway
from tests.support.raw_client import (
    until,
)


@pytest.fixture
async def place() -> AsyncIterator[tuple[Studio, str]]:
    """A studio and the URL of its gateway; nobody is left in it afterwards."""
    studio = Studio(loop=asyncio.get_running_loop(), grace=0.05)
    async with open_gateway(studio) as (gateway, url):
        yield studio, url
        await until(lambda: not gateway._websocket._sessions)
        assert not any(picture.viewers for picture in studio.book._by_name.values())
