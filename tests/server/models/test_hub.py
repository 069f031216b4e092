"""Mini and Mega from a hub on a real socket: fetched once, checked, resumed, held offline.

huggingface_hub reads its settings when it is imported, so each test runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_hub import FakeHub, fake_hub

FETCH = """
import hashlib
import sys
from rowcast_server.models import hub
from rowcast_server.errors import ModelError
try:
    files = hub.download("mini")
except ModelError as error:
    sys.exit(f"refused: {error}")
for path in (files.encoder, files.decoder, files.vocabulary, files.merges, files.detokenizer):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""

NAMES = ("encoder_mini.pt", "decoder_mini.pt", "vocab_mini.json", "merges_mini.txt", "detoker.pt")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub({name: name.encode() * 5_000 for name in NAMES}) as hub:
        yield hub


def all_of(hub: FakeHub) -> str:
    return "".join(f"{name} {hashlib.sha256(hub.files[name]).hexdigest()}\n" for name in NAMES)


def fetch(url: str, tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FETCH],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=tmp_path,
        env=os.environ
        | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
        | {"HF_HUB_DISABLE_TELEMETRY": "1"}
        | settings,
    )


def test_a_model_is_fetched_once_and_held_without_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    first = fetch(hub.url, tmp_path)
    assert first.stdout == all_of(hub), first.stderr
    assert {name for _, name, _ in hub.requests} == set(NAMES)
    before = len(hub.requests)
    second = fetch("http://127.0.0.1:9", tmp_path)
    assert second.stdout == first.stdout
    assert len(hub.requests) == before


def test_a_broken_download_is_resumed(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["encoder_mini.pt"] = bytes(range(256)) * 100_000
    hub.cut_after = 20_000_000
    run = fetch(hub.url, tmp_path)
    if run.returncode:  # this version leaves it to the next run
        run = fetch(hub.url, tmp_path)
    assert run.stdout == all_of(hub), run.stderr
    ranges = [asked for _, name, asked in hub.requests if name == "encoder_mini.pt" and asked]
    assert ranges  # only the rest was asked for


def test_a_file_that_is_not_what_was_announced_is_removed(hub: FakeHub, tmp_path: Path) -> None:
    hub.damage = "decoder_mini.pt"
    run = fetch(hub.url, tmp_path)
    assert run.returncode == 1
    assert "refused: decoder_mini.pt came from the hub damaged: sha256" in run.stderr
    hub.damage = None
    assert fetch(hub.url, tmp_path).stdout == all_of(hub)


def test_a_hub_out_of_reach_is_one_line_that_says_what_works_without_it(tmp_path: Path) -> None:
    run = fetch("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    refusal = [line for line in run.stderr.split("\n") if line.startswith("refused: ")]
    assert len(refusal) == 1
    assert "encoder_mini.pt of kuprel/min-dalle" in refusal[0]
    assert "./pretrained/dalle_bart_mini and detoker.pt into ./pretrained/vqgan" in refusal[0]
    assert run.stderr.strip() == refusal[0]


def test_without_huggingface_hub_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ModuleNotFoundError('no')")
    run = fetch("http://127.0.0.1:9", tmp_path, PYTHONPATH=str(tmp_path))
    assert re.search(r"pip install '.*\[hub\]'", run.stderr)
