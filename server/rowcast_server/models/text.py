"""The byte-pair tokenizer of DALL-E Mini, over any vocabulary: prompts to text ids.

The rules are min-dalle's: emoji spelled out, lower case, everything outside ASCII dropped, split on
spaces, a leading `Ġ` per word, merges by rank, `<s>` … `</s>`, padding. Text that does not fit is
cut, as min-dalle cuts it (its `</s>` goes too), and the number of tokens cut is told, as is the
number of characters that no token stands for. The empty text of guidance is `<s> </s>` for every
prompt; min-dalle's ends in the prompt's last token, so that of a cut prompt is another.

This module must not import torch: a gateway may tokenize.
"""

from __future__ import annotations

import heapq
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import emoji
import numpy as np
import numpy.typing as npt

from ..network.facts import END, PAD, START, TEXT_POSITIONS, UNKNOWN

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, in every vocabulary
WORD_START = "Ġ"
# Marks that sit on a letter, and invisible formatting (joiners, directions, variation selectors):
# without them a text still reads as it did, so that their loss is none.
UNHEARD = frozenset({"Mn", "Me", "Cf"})

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodedText:
    """A prompt as ids: int64 [64], of which the first `length` are not padding.

    `cut` tokens, `</s>` among them, did not fit. `lost` characters have no token; where `is_read`
    is false, none of the prompt has.
    """

    ids: Ids
    length: int
    cut: int
    lost: int = 0
    is_read: bool = True


def normalise(text: str) -> str:
    """Lower-case ASCII with emoji spelled out; other characters are dropped."""
    return _ascii(_spelled(text))


def _spelled(text: str) -> str:
    spelled: str = emoji.demojize(text, delimiters=("", ""))
    return spelled.lower()


def _ascii(text: str) -> str:
    return text.encode("ascii", errors="ignore").decode()


class TextTokenizer:
    """Byte-pair tokens over `vocab` (subword to id) and `merges` (pairs, most frequent first)."""

    def __init__(self, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        """Raises ValueError unless the special tokens have the ids 0 to 3."""
        for expected, token in enumerate(SPECIAL_TOKENS):
            if vocab.get(token) != expected:
                raise ValueError(f"vocabulary maps {token} to {vocab.get(token)}, not {expected}")
        self.vocab = dict(vocab)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}  # the last of equals wins
        normalise("\N{SLIGHTLY SMILING FACE}")  # emoji reads its tables now, not in a first prompt

    @classmethod
    def from_files(cls, vocab_path: Path | str, merges_path: Path | str) -> TextTokenizer:
        """Read `vocab.json` and `merges.txt` (one pair a line; `#version` first is skipped).

        Raises OSError if a file cannot be read, ValueError if it does not hold what it should.
        """
        vocab = json.loads(Path(vocab_path).read_text(encoding="utf-8"))
        if not isinstance(vocab, dict):
            raise ValueError(f"{vocab_path}: not a JSON object")
        lines = Path(merges_path).read_text(encoding="utf-8").split("\n")
        return cls(vocab, list(_parse_merges(lines, str(merges_path))))

    def encode(self, text: str) -> EncodedText:
        """Tokenize a prompt. Never fails: unknown pieces become `<unk>`, long text is cut."""
        spelled = _spelled(text)
        words = [word for word in _ascii(spelled).split(" ") if word]
        pieces = [piece for word in words for piece in self.pieces(word)]
        whole = [START, *(self.vocab.get(piece, UNKNOWN) for piece in pieces), END]
        kept = whole[:TEXT_POSITIONS]
        ids = np.full(TEXT_POSITIONS, PAD, dtype=np.int64)
        ids[: len(kept)] = kept
        unknown = [piece for piece in pieces if piece not in self.vocab]
        dropped = [letter for letter in spelled if not letter.isascii()]
        return EncodedText(
            ids,
            len(kept),
            cut=len(whole) - len(kept),
            lost=sum(unicodedata.category(letter) not in UNHEARD for letter in dropped)
            + sum(len(piece.removeprefix(WORD_START)) for piece in unknown),
            is_read=any(piece in self.vocab and piece != WORD_START for piece in pieces),
        )

    def pieces(self, word: str) -> list[str]:
        """The subwords of one word: merge the pair of lowest rank, leftmost first, until none.

        Pairs wait in a heap, so that a prompt without a space takes no more than n log n.
        """
        parts = [WORD_START, *word]  # "" where one was merged into a part to its left
        following = [*range(1, len(parts)), None]
        preceding = [None, *range(len(parts) - 1)]
        heap: list[tuple[int, int]] = []  # rank, place of the left part

        def consider(at: int | None) -> None:
            if at is not None and (rank := self._rank(parts, at, following[at])) is not None:
                heapq.heappush(heap, (rank, at))

        for at in range(len(parts)):
            consider(at)
        while heap:
            rank, at = heapq.heappop(heap)
            right = following[at]
            if self._rank(parts, at, right) != rank:
                continue  # one of the two has been merged since
            parts[at], parts[right] = parts[at] + parts[right], ""
            following[at] = after = following[right]
            if after is not None:
                preceding[after] = at
            consider(preceding[at])
            consider(at)
        return [part for part in parts if part]

    def _rank(self, parts: list[str], left: int, right: int | None) -> int | None:
        return None if right is None else self.ranks.get((parts[left], parts[right]))


def _parse_merges(lines: Sequence[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split()
        if len(pair) != 2:
            raise ValueError(f"{name}:{number}: expected two subwords, found {len(pair)}")
        yield pair[0], pair[1]
