"""Settings of a server, and where their defaults come from."""

from __future__ import annotations

import dataclasses
import os

import pytest
from rowcast_server.config import ServerConfig, usable_cores

from tests.document import ROOT


def test_as_many_threads_as_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert ServerConfig().threads == usable_cores() == 3


def test_where_the_system_does_not_tell_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for told, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)
        assert usable_cores() == expected


def test_settings_print_without_their_tokens() -> None:
    config = ServerConfig(tokens=frozenset({"s3cret"}))
    assert "s3cret" not in f"{config!r} {config}"
    assert config != ServerConfig()


def test_every_setting_is_an_option_or_documented_by_its_name() -> None:
    settings = {each.name: each.metadata.get("option") for each in dataclasses.fields(ServerConfig)}
    assert {name for name, option in settings.items() if option is None} == {
        "tokens",  # of a file, or of the environment
        "placements",  # --device, --dtype and --cache
    }
    _, _, told = (ROOT / "docs/operate.md").read_text("utf-8").partition("## From Python")
    for name, option in settings.items():
        if option not in (None, "--" + name.replace("_", "-")):
            assert f"`{name}`" in told, name
            assert f"`{option}`" in told, name
