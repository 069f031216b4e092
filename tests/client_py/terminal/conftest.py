"""Fixtures of the commands' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that a command makes."""
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command's default folder is made in the checkout."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
