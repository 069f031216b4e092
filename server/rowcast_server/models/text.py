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
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import emoji
import numpy as np

from ..families.text import EncodedText as EncodedText
from ..network.facts import END, PAD, START, TEXT_POSITIONS, UNKNOWN

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, in every vocabulary
WORD_START = "Ġ"
# Marks that sit on a letter, and invisible formatting (joiners, directions, variation selectors):
# without them a text still reads as it did, so that their loss is none.
UNHEARD = frozenset({"Mn", "Me", "Cf"})
JOINER = "\u200d"  # of two emoji into one
BETWEEN = ""  # parts of a text
VARIANTS = "\ufe0e\ufe0f"  # as text, as a picture


def normalise(text: str) -> str:
    """Lower-case ASCII with emoji spelled out; other characters are dropped."""
    return _ascii(_spelled(text))


@dataclass(frozen=True)
class _Emoji:
    """`names` of emoji, `begun`: all that one begins with, `marks`: where one may begin."""

    names: Mapping[str, str]
    begun: frozenset[str]
    components: frozenset[str]  # such as skin tones
    marks: re.Pattern[str]

    @staticmethod
    @cache
    def read() -> _Emoji:
        names = {sign: facts["en"][1:-1] for sign, facts in emoji.EMOJI_DATA.items()}
        begun = frozenset(sign[:end] for sign in names for end in range(1, len(sign) + 1))
        part = emoji.STATUS["component"]
        components = {sign for sign, facts in emoji.EMOJI_DATA.items() if facts["status"] == part}
        marks = re.compile(f"[^\\x00-\\x7f]|[0-9#*](?=[{VARIANTS}\u20e3])")
        return _Emoji(names, begun, frozenset(components), marks)


def _spelled(text: str) -> str:
    """In lower case, each emoji by its name: as `emoji.demojize` tells them apart, in linear time.

    It goes on as long as some emoji does. Where that leads to none, the first character stays as it
    is, unless it is an emoji by itself and a joiner follows: emoji do not reach across that joiner.
    """
    if text.isascii():
        return text.lower()
    known = _Emoji.read()
    names, begun = known.names, known.begun
    spelled: list[str] = []
    run: list[str] = []  # the last emoji and joiners, nothing else between them
    at, barrier = 0, -1  # `barrier`: a joiner
    while match := known.marks.search(text, at):
        begin = match.start()
        if begin > at:
            spelled.append(text[at:begin])
            run.clear()
            at = begin
        sign = text[at]
        name = sign
        if sign in begun:
            end = at + 1
            while end != barrier and end < len(text) and text[at : end + 1] in begun:
                end += 1
            if text[at:end] in names:
                sign = text[at:end]
                name = names[sign]
        elif sign != JOINER:
            run.clear()
            name = "" if sign in VARIANTS else sign
        elif at != barrier and run and run[-1] in names:
            again = 1 + (run[-1] in known.components and len(run) > 1 and run[-2] != JOINER)
            at, barrier = at - sum(map(len, run[-again:])), at
            del run[-again:], spelled[-again:]
            continue
        spelled.append(name)
        run.append(sign)
        at += len(sign)
    spelled.append(text[at:])
    return "".join(spelled).lower()


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
        _Emoji.read()  # now, not in a first prompt
        letters = [BETWEEN, WORD_START, *map(chr, range(128))]
        made = (part for pair in self.ranks for part in (*pair, "".join(pair)))
        self._parts = list(dict.fromkeys([*letters, *made]))
        self._numbers = {part: number for number, part in enumerate(self._parts)}
        self._numbers[" "] = self._numbers[WORD_START]  # in a text that is taken apart
        self._merges = {  # of two parts' numbers in one: the rank, and the number they make
            self._numbers[left] * len(self._parts) + self._numbers[right]: rank
            for (left, right), rank in self.ranks.items()
        }
        self._merged = {
            rank: self._numbers[left + right] for (left, right), rank in self.ranks.items()
        }
        # Letters that stand side by side in some part: a text comes apart between all others.
        self._side_by_side = np.zeros((128, 128), dtype=np.bool_)
        for part in self._parts:
            if (joined := part.replace(WORD_START, " ")).isascii():
                codes = np.frombuffer(joined.encode(), np.uint8)
                self._side_by_side[codes[:-1], codes[1:]] = True
        self._side_by_side[:, ord(" ")] = False
        self._ids = np.array([self.vocab.get(part, UNKNOWN) for part in self._parts])
        self._is_known = np.array([part in self.vocab or not part for part in self._parts])
        self._letters = np.array([len(part.removeprefix(WORD_START)) for part in self._parts])

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
        """Tokenize a prompt: 64 ids, padded. Never fails: unknown pieces become `<unk>`, long text
        is cut, `</s>` with it."""
        spelled = _spelled(text)
        words = "".join(" " + word for word in _ascii(spelled).split(" ") if word)
        first, times = self._apart(words)
        merged = np.array(self._merge(times), dtype=np.int64)
        ends = np.flatnonzero(merged == self._numbers[BETWEEN])
        begins = [0, *(ends[:-1] + 1).tolist()]
        spans = dict(zip(times, map(slice, begins, ends.tolist()), strict=False))
        pieces = [number for part in first for number in self._ids[merged[spans[part]]].tolist()]
        kept = [START, *pieces, END][:TEXT_POSITIONS]
        repeats = np.repeat(np.array([*times.values()], np.int64), np.diff(ends, prepend=-1))
        count = int(repeats.sum()) - times.total()  # without what is between
        letters, is_known = self._letters[merged], self._is_known[merged]
        lost = int((repeats * letters)[~is_known].sum())
        is_read = bool((letters[is_known] > 0).any())
        ids = np.full(TEXT_POSITIONS, PAD, dtype=np.int64)
        ids[: len(kept)] = kept
        if not spelled.isascii():
            dropped = [letter for letter in spelled if not letter.isascii()]
            lost += sum(unicodedata.category(letter) not in UNHEARD for letter in dropped)
        return EncodedText(ids, len(kept), count + 2 - len(kept), lost, is_read)

    def _apart(self, words: str) -> tuple[list[str], Counter[str]]:
        """Cut a text, of which each word has a space before it, where no merge can reach across.

        The first parts, as many as can fit, and how often each part is there.
        """
        codes = np.frombuffer(words.encode(), np.uint8)
        side_by_side = self._side_by_side[codes[:-1], codes[1:]]
        begins = np.concatenate([[True], ~side_by_side])[: len(codes)]
        alone = begins & np.concatenate([begins[1:], [True]])[: len(codes)]
        cuts = np.flatnonzero(begins & ~alone)
        ends = np.flatnonzero(begins[1:] & ~alone[:-1]) + 1
        longer = zip(cuts.tolist(), [*ends.tolist(), len(words)], strict=False)
        times = Counter(words[begin:end] for begin, end in longer)
        for code, count in enumerate(np.bincount(codes[alone]).tolist()):
            if count:
                times[chr(code)] = count
        edges = [*np.flatnonzero(begins)[: TEXT_POSITIONS + 1].tolist(), len(words)]
        first = [words[begin:end] for begin, end in pairwise(edges)]
        return first[:TEXT_POSITIONS], times

    def _merge(self, parts: Iterable[str]) -> list[int]:
        """The numbers of the pieces of each part, and of `BETWEEN` after each.

        The rule: merge the pair of lowest rank, leftmost first, until none is left.
        """
        numbers: list[int] = []
        for part in parts:
            numbers += [self._numbers[letter] for letter in part]
            numbers.append(self._numbers[BETWEEN])
        size, count = len(self._parts), len(numbers)
        rank_of, merged = self._merges.get, self._merged
        # Of each place: that of the part before and after it, and the rank of the two in one.
        before, after = list(range(-1, count)), list(range(1, count + 1))
        ranks = [rank_of(left * size + right) for left, right in pairwise(numbers)] + [None]
        waiting: dict[int, list[int]] = {}  # the places of a rank
        for at, rank in enumerate(ranks):
            if rank is not None:
                waiting.setdefault(rank, []).append(at)
        heap = list(waiting)
        heapq.heapify(heap)
        while heap:
            rank = heapq.heappop(heap)
            places = waiting.pop(rank)
            places.sort()
            for done, at in enumerate(places, 1):
                if ranks[at] != rank:
                    continue  # one of the two has been merged since
                right = after[at]
                numbers[at] = number = merged[rank]
                numbers[right], ranks[right], ranks[at] = -1, None, None
                after[at] = following = after[right]
                pairs = []
                if following < count:
                    before[following] = at
                    pairs.append((at, rank_of(number * size + numbers[following])))
                if (left := before[at]) >= 0:
                    pairs.append((left, rank_of(numbers[left] * size + number)))
                for place, other in pairs:
                    ranks[place] = other
                    if other is None:
                        continue
                    if other in waiting:
                        waiting[other].append(place)
                    else:
                        waiting[other] = [place]
                        heapq.heappush(heap, other)
                if heap and heap[0] < rank and done < len(places):
                    waiting[rank] = places[done:]  # after that
                    heapq.heappush(heap, rank)
                    break
        return [number for number in numbers if number >= 0]


def _parse_merges(lines: Sequence[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split()
        if len(pair) != 2:
            raise ValueError(f"{name}:{number}: expected two subwords, found {len(pair)}")
        yield pair[0], pair[1]
