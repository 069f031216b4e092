"""Prompts as transformers' tokenizer makes tokens of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rowcast_server.errors import ModelError
from rowcast_server.families.janus.sizes import TEXT_PLACES
from rowcast_server.families.janus.text import JanusTokenizer
from tokenizers import Tokenizer

from tests.support.janus import BEGIN, IMAGE_BEGIN, PAD, write_tokenizer
from tests.support.janus_peer import framed, transformers_tokenizer

PIECES = ("a", "red", " ", "\n", "house", "boat", "<|User|>:", "漢字", "é", "7", "!", PAD)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def test_two_thousand_prompts_are_the_same_tokens(path: Path) -> None:
    ours, theirs = JanusTokenizer(path), transformers_tokenizer(path)

    @settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
            st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
        )
    )
    def same(prompt: str) -> None:
        expected = theirs(framed(prompt), add_special_tokens=False)["input_ids"]
        text = ours.encode(prompt)
        assert text.length == len(text.ids)
        if text.cut:
            assert len(expected) - text.cut == TEXT_PLACES == text.length
        else:
            assert text.ids.tolist() == expected

    same()


def test_a_long_prompt_keeps_its_frame(path: Path) -> None:
    tokenizer = JanusTokenizer(path)
    text = tokenizer.encode("sea " * 300)
    short = tokenizer.encode("sea")
    assert text.length == TEXT_PLACES
    assert text.cut > 100
    assert text.ids[-7:].tolist() == short.ids[-7:].tolist()
    assert text.ids[:5].tolist() == short.ids[:5].tolist()


def test_without_a_text_there_is_padding_between_the_marks(path: Path) -> None:
    tokenizer, plain = JanusTokenizer(path), Tokenizer.from_file(str(path))
    ids = tuple(tokenizer.encode("a red house").ids.tolist())
    begin, pad, image = map(plain.token_to_id, (BEGIN, PAD, IMAGE_BEGIN))
    assert tokenizer.specials.without_text(ids) == (begin, *[pad] * (len(ids) - 2), image)


def test_a_tokenizer_of_another_model_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.json"
    other.write_text(path.read_text("utf-8").replace("begin_of_image", "begin_of_sound"), "utf-8")
    with pytest.raises(ModelError, match="has no token <begin_of_image>"):
        JanusTokenizer(other)
    other.write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="cannot be used"):
        JanusTokenizer(other)
