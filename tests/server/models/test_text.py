"""The text tokenizer: min-dalle's rules, over a small vocabulary."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rowcast_server.models.text import SPECIAL_TOKENS, TextTokenizer
from rowcast_server.network.facts import END, PAD, START, UNCONDITIONAL, UNKNOWN

MERGES = [("Ġ", "s"), ("e", "a"), ("Ġs", "ea"), ("r", "e"), ("re", "d"), ("Ġ", "red")]
PIECES = [*SPECIAL_TOKENS, "Ġ", "s", "e", "a", "r", "d", *("".join(pair) for pair in MERGES)]
VOCAB = {piece: index for index, piece in enumerate(PIECES)}


@pytest.fixture
def tokenizer() -> TextTokenizer:
    return TextTokenizer(VOCAB, MERGES)


def words(tokenizer: TextTokenizer, text: str) -> list[str]:
    encoded = tokenizer.encode(text)
    assert encoded.ids[0] == START
    assert encoded.ids[encoded.length - 1] == END
    assert (encoded.ids[encoded.length :] == PAD).all()
    return [PIECES[index] for index in encoded.ids[1 : encoded.length - 1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red sea", ["Ġred", "Ġsea"]),
        ("  RED   Sea ", ["Ġred", "Ġsea"]),
        ("rédsea", ["Ġ", "r", "d", "s", "ea"]),  # é is dropped; the pair (r, d) is no merge
        ("seas", ["Ġsea", "s"]),
        ("", []),
    ],
)
def test_words_are_merged_by_rank(tokenizer: TextTokenizer, text: str, expected: list[str]) -> None:
    assert words(tokenizer, text) == expected


def test_a_prompt_without_spaces_takes_no_quadratic_time(tokenizer: TextTokenizer) -> None:
    begin = time.perf_counter()
    assert tokenizer.encode("sea" * 10_000).cut > 0
    assert time.perf_counter() - begin < 2.0


def test_unknown_pieces_have_their_own_id(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode("xs").ids[1:4].tolist() == [VOCAB["Ġ"], UNKNOWN, VOCAB["s"]]


def test_long_text_is_cut_and_says_so(tokenizer: TextTokenizer) -> None:
    fits = tokenizer.encode("sea " * 62)
    assert (fits.length, fits.cut) == (64, 0)
    cut = tokenizer.encode("sea " * 63)
    assert (cut.length, cut.cut) == (64, 1)
    assert tokenizer.encode("sea " * 80).cut == 18
    assert fits.ids[-1] == END
    assert cut.ids[-1] == VOCAB["Ġsea"]  # </s> is cut as well
    assert np.array_equal(fits.ids[:-1], cut.ids[:-1])
    assert cut.ids.dtype == np.int64


def test_the_unconditional_stream_is_the_empty_prompt(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode("").ids.tolist() == list(UNCONDITIONAL)


def test_files_are_read_with_and_without_a_version_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(str(VOCAB).replace("'", '"'), encoding="utf-8")
    lines = "".join(f"{first} {second}\n" for first, second in MERGES)
    for header in ("", "#version: 0.2\n"):
        (tmp_path / "merges.txt").write_text(header + lines, encoding="utf-8")
        read = TextTokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
        assert words(read, "red sea") == ["Ġred", "Ġsea"]
    (tmp_path / "merges.txt").write_text("r e d\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"merges\.txt:1"):
        TextTokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_special_tokens_must_have_their_ids() -> None:
    with pytest.raises(ValueError, match="</s>"):
        TextTokenizer({**VOCAB, "</s>": 7}, MERGES)


def test_the_tokenizer_does_not_import_torch() -> None:
    code = "import sys, rowcast_server.models.text; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
