"""The same numbers as min-dalle 0.4.11, at reduced depth and full Mini width, from its own files.

`make parity` repeats this at full size.
"""

from __future__ import annotations

import random
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rowcast_bench.engine.random_model import TEXT_TOKENS
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.facts import END, START, UNCONDITIONAL

from tests.support.engine.agreement import measure
from tests.support.engine.peer import (
    MINI,
    Peer,
    Sizes,
    make_vocabulary,
    write_min_dalle,
)
from tests.support.engine.peer import TextTokenizer as PeerTokenizer

VOCABULARY, MERGES = make_vocabulary(3_000)
OURS = TextTokenizer(VOCABULARY, [(line.split()[0], line.split()[1]) for line in MERGES])
THEIRS = PeerTokenizer(VOCABULARY, MERGES)

WORDS = st.sampled_from([piece.removeprefix("Ġ") for piece in list(VOCABULARY)[4:]])
TEXTS = st.one_of(
    st.text(max_size=80),  # all of Unicode
    st.text(alphabet="😀👩‍🚀🏳️‍🌈🇩🇪❤️🐈 a", max_size=20),
    st.text(alphabet="àéîõüçñßøłžÅÉ aeiou", max_size=80),
    st.text(alphabet="\x00\x07\t\n\r\x0b\x1b\x7f\x85\u2028 ab", max_size=60),
    st.text(alphabet=string.printable, max_size=200),
    st.lists(WORDS, max_size=90).map(" ".join),
    st.lists(WORDS, max_size=20).map("".join),
)


def same_tokens(text: str) -> None:
    theirs = THEIRS.tokenize(text)
    encoded = OURS.encode(text)
    expected = np.ones(TEXT_TOKENS, np.int64)
    expected[: len(theirs)] = theirs[:TEXT_TOKENS]
    assert encoded.ids.tolist() == expected.tolist()
    assert encoded.length == min(len(theirs), TEXT_TOKENS)
    assert (encoded.cut > 0) == (len(theirs) > TEXT_TOKENS)
    assert (encoded.ids[encoded.length - 1] == END) or encoded.cut


@settings(
    max_examples=2_000,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(TEXTS)
@example("")
@example(" ")
@example("<s> </s> <pad>")
def test_text_tokens_are_the_same(text: str) -> None:
    same_tokens(text)


def test_ten_thousand_letters_are_the_same_tokens() -> None:
    choose = random.Random(1)
    letters = choose.choices(string.ascii_letters, k=10_000)
    same_tokens("".join(letter + " " * (choose.random() < 0.2) for letter in letters))
    same_tokens("é" * 4_999 + "".join(letters[:2_000]) + "Z" * 3_001)


def test_the_empty_text_is_theirs_unless_the_prompt_is_cut() -> None:
    """Theirs ends in the last token that is kept of the prompt."""
    peer = Peer.__new__(Peer)
    peer.tokenizer = THEIRS
    whole, cut = peer.text_tokens("a b"), peer.text_tokens("a " * 90)
    assert whole[0].tolist() == list(UNCONDITIONAL)
    assert cut[0, :2].tolist() == [START, cut[1, -1]]
    assert cut[0, 1] != END
    assert OURS.encode("a " * 90).ids.tolist() == cut[1].tolist()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "sizes",
    [
        replace(MINI, layers=1, text_vocabulary=3_000),
        # Mega's shape in small: a larger image vocabulary, of which 16,384 are drawn.
        Sizes(2, 256, 4, 512, 3_100, 16_415),
    ],
    ids=["mini-width", "mega-like"],
)
def test_encoder_logits_and_greedy_tokens_are_the_same(tmp_path: Path, sizes: Sizes) -> None:
    agreement = measure(write_min_dalle(tmp_path / "dalle_bart_mini", sizes), sizes)
    print(agreement)
    agreement.check()
