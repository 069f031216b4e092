"""Fixtures of the client's tests."""

from __future__ import annotations

import pytest

from tests.support.client.shells import SHELLS, Connect


@pytest.fixture(params=SHELLS)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a client of either kind: one test proves both."""
    return SHELLS[request.param]
