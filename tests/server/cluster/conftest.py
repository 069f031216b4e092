"""Fixtures of a cluster's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from rowcast_server.cluster import directory, others, remote

from tests.support.clustered.gateways import FakeCluster


@pytest.fixture
async def fakes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCluster]:
    """A cluster in this loop, that waits for nothing long."""
    monkeypatch.setattr(directory, "NEWS_SECONDS", 0.02)
    monkeypatch.setattr(others, "PUBLISH_SECONDS", 0.005)
    monkeypatch.setattr(others, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.001)
    cluster = FakeCluster()
    yield cluster
    await cluster.close()
