"""Install hints: what can be typed here, where rowcast came from and where its script is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from rowcast.terminal import install_hints
from rowcast.terminal.install_hints import command_name, extra_of, install_hint


class Installed:
    """What `importlib.metadata` tells of an installation from a place."""

    def __init__(self, url: str | None) -> None:
        self._url = url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._url is None else json.dumps({"url": self._url})


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scripts of an environment that the shell finds."""
    folder = tmp_path / "my env/bin"
    folder.mkdir(parents=True)
    for name in ("python", "pip", "rowcast"):
        (folder / name).write_bytes(b"#!")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("bin_folder")
def test_the_hint_names_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_bytes(b"")
    place = checkout.as_uri()
    for url, folder, hint in (
        (None, tmp_path, "pip install 'rowcast[server,torch]'"),
        ("https://example.org/rowcast.whl", tmp_path, "pip install 'rowcast[server,torch]'"),
        (place, checkout, "pip install '.[server,torch]'"),
        (place, tmp_path, f"pip install '{checkout}[server,torch]'"),
        (f"{place}-gone", tmp_path, "pip install 'rowcast[server,torch]'"),
    ):
        monkeypatch.setattr(install_hints, "distribution", lambda _, url=url: Installed(url))
        monkeypatch.chdir(folder)
        assert install_hint("server", "torch") == hint


def test_the_hint_is_of_this_environments_pip(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_hints, "distribution", lambda _: Installed(None))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(tmp_path)
    assert install_hint("hub") == "'my env/bin/python' -m pip install 'rowcast[hub]'"


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("msgpack", "bench"),
        ("torch.cuda", "torch"),
        ("min_dalle", "peer"),
        ("aiohttp", "server"),
        ("shtab", "completion"),
    ],
)
def test_the_extra_of_what_is_missing(module: str, extra: str) -> None:
    assert extra_of(module) == extra


def test_the_command_as_it_is_typed_here(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_name() == "rowcast"
    monkeypatch.setenv("PATH", os.defpath)
    assert command_name() == "'my env/bin/rowcast'"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command_name() == f"'{bin_folder}/rowcast'"
    (bin_folder / "rowcast").unlink()
    assert command_name() == f"'{bin_folder}/python' -m rowcast"
