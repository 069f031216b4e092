"""Fixtures of both clients' tests."""

from __future__ import annotations

import pytest
import rowcast
from rowcast_server.server import RowcastServer

from tests.support.client.clients import PROMPT, ids


@pytest.fixture(scope="session")
def undisturbed(tiny_server: RowcastServer) -> list[list[int]]:
    """The ids of the picture of PROMPT with seed 5, drawn in peace."""
    with rowcast.connect_sync(tiny_server.ws_url, decode=False) as client:
        return ids(client.pictures(PROMPT, seed=5)[0])
