"""The tokenizer is quick by tables and cuts; a plain, slow one must tell the same of every text."""

from __future__ import annotations

import random
import string
import unicodedata
from itertools import pairwise
from pathlib import Path

import emoji
import pytest
import rowcast_server.models as models
from rowcast_server.models.text import SPECIAL_TOKENS, UNHEARD, TextTokenizer, normalise
from rowcast_server.network.facts import END, PAD, START, TEXT_POSITIONS, UNKNOWN

SIGNS = [*emoji.EMOJI_DATA, *(letter for sign in emoji.EMOJI_DATA for letter in sign)]
JOINED = [*"👩👨🏿🏻🦱💋x1🇩🇪", "❤", "\u200d", "\u200d", "\ufe0e", "\ufe0f", "\u20e3"]
POSTCARD = Path(models.__file__).parent / "postcard"


def grown(seed: int) -> TextTokenizer:
    """Of random merges: some make what another makes too, or come before what they are made of."""
    choose = random.Random(seed)
    pieces = ["Ġ", *"abcdef_-,1"]
    merges = []
    for _ in range(300):
        left, right = choose.choice(pieces), choose.choice(pieces[1:])
        if len(left + right) <= 9 and not right.startswith("Ġ"):
            merges.append((left, right))
            pieces.append(left + right)
    choose.shuffle(merges)
    known = [piece for piece in dict.fromkeys(pieces) if choose.random() < 0.9]
    return TextTokenizer({p: i for i, p in enumerate([*SPECIAL_TOKENS, *known])}, merges)


TOKENIZERS = [TextTokenizer.from_files(POSTCARD / "vocab.json", POSTCARD / "merges.txt"), grown(1)]


def pieces_of(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The rule itself: merge the pair of lowest rank, leftmost first, until none is left."""
    parts = ["Ġ", *word]
    while pairs := [(ranks[p], at) for at, p in enumerate(pairwise(parts)) if p in ranks]:
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def check(tokenizer: TextTokenizer, text: str) -> None:
    spelled = emoji.demojize(text, delimiters=("", "")).lower()
    letters = spelled.encode("ascii", "ignore").decode()
    assert normalise(text) == letters
    pieces = [p for word in letters.split(" ") if word for p in pieces_of(word, tokenizer.ranks)]
    ids = [START, *(tokenizer.vocab.get(piece, UNKNOWN) for piece in pieces), END]
    kept = ids[:TEXT_POSITIONS]
    unknown = [piece.removeprefix("Ġ") for piece in pieces if piece not in tokenizer.vocab]
    dropped = [c for c in spelled if not c.isascii() and unicodedata.category(c) not in UNHEARD]
    encoded = tokenizer.encode(text)
    assert encoded.ids.tolist() == kept + [PAD] * (TEXT_POSITIONS - len(kept))
    assert (encoded.length, encoded.cut) == (len(kept), len(ids) - len(kept))
    assert encoded.lost == len("".join(unknown)) + len(dropped)
    assert encoded.is_read == any(p in tokenizer.vocab and p != "Ġ" for p in pieces)


def hostile(seed: int) -> str:
    """Letters that merge much, emoji that join or nearly do, all of Unicode."""
    choose = random.Random(seed)
    wide = [chr(choose.choice([*range(0x20, 0xD800, 97), *range(0x1F000, 0x1FB00)]))]
    alphabet = choose.choice(
        [SIGNS, JOINED, "ab", "abcdef_-,1 ", "sea red house", string.printable, [*wide, "a", "İ"]]
    )
    return "".join(choose.choices(alphabet, k=choose.randrange(1, 60)))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["postcard", "random merges"])
def test_random_and_hostile_texts_are_the_same_tokens(tokenizer: TextTokenizer) -> None:
    for seed in range(2_000):
        check(tokenizer, hostile(seed))
    for text in (
        "a" * 990 + " " + "b" * 990,
        "🏿\u200d🏿\u200d",
        "1️⃣2\ufe0f#",
        "👩\u200d❤\ufe0f\u200d💋",
    ):
        check(tokenizer, text)
