"""The book of pictures that the sessions of these tests share."""

from __future__ import annotations

import pytest

from tests.support.fakes import Studio


@pytest.fixture
def studio() -> Studio:
    return Studio()
