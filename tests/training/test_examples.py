"""The prompts that are shown are such as postcard was held to, and the documents use its words."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from training.captions import sample_captions
from training.export_weights import DESCRIPTION, EXAMPLES, settings
from training.model_card import TEMPLATE

ROOT = Path(__file__).parents[2]
HELD_OUT = ROOT / "bench/rowcast_bench/decode/held_out_prompts.txt"
# What a reader may type: after `demo`, a URL, or a call that draws.
SHOWN = re.compile(
    r"""(?:
        (?:rowcast|\{called\})\ (?:demo|generate\ \S+)\ +
        | demo\ PROMPT=
        | \.(?:generate|pictures)\(
    )
    \\?(["'])([a-z][^"'\\\n{}]*)\\?\1""",
    re.VERBOSE,
)
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "Makefile",
    *(path for path in (ROOT / "docs").glob("*.md") if path.name != "from-min-dalle.md"),
    *(ROOT / "examples").glob("*"),
    *(ROOT / "client_py/rowcast").rglob("*.py"),
    *(ROOT / "server/rowcast_server").glob("*.py"),
]


@pytest.fixture(scope="module")
def words() -> set[str]:
    """All words of the captions that postcard was taught with."""
    return {word for text in sample_captions(3_000, 0) for word in re.findall(r"\w+", text)}


def test_the_examples_are_of_the_prompts_that_it_is_held_to() -> None:
    assert set(EXAMPLES) <= set(HELD_OUT.read_text("utf-8").splitlines())


def test_the_shipped_model_says_what_its_source_says() -> None:
    shipped = resources.files("rowcast_server.models") / "postcard/model.json"
    said = json.loads(shipped.read_text("utf-8"))
    assert said == settings()
    assert (said["description"], said["examples"]) == (DESCRIPTION, list(EXAMPLES))


def test_the_card_says_what_it_cannot_draw_and_shows_the_examples() -> None:
    card = (ROOT / "training/MODEL_CARD.md").read_text("utf-8")
    assert TEMPLATE.partition("## What it is not")[2] == card.partition("## What it is not")[2]
    assert "no animals, no people" in card
    assert all(f"\n- {example}\n" in card for example in EXAMPLES)


def test_prompts_of_the_documents_are_in_words_that_it_knows(words: set[str]) -> None:
    shown = {
        (path.name, prompt)
        for path in DOCUMENTS
        if path.is_file()
        for _, prompt in SHOWN.findall(path.read_text("utf-8", errors="ignore"))
    }
    assert len(shown) >= 8
    unknown = {
        (name, prompt, word)
        for name, prompt in shown
        for word in re.findall(r"\w+", prompt)
        if word not in words
    }
    assert unknown == set()
