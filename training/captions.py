"""Captions of scenes, and the byte-pair vocabulary learnt from them.

A caption names the setting and everything drawn on it; the sun or moon, the clouds and some sides
are named or left open. `caption` returns the text and the attributes it names, which evaluation
checks against what a classifier sees in the picture.

    python -m training.captions --count 20                     # read some
    python -m training.captions --vocabulary training/runs/text  # learn vocab.json, merges.txt
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rowcast_server.models.text import SPECIAL_TOKENS, WORD_START, TextTokenizer, normalise
from rowcast_server.network.facts import UNCONDITIONAL
from torch import Tensor

from training.attributes import HEADS, named_targets
from training.command_line import parse
from training.scenes import Scene, sample_scene

Pick = Callable[..., str]  # one of several wordings

MERGES = 400
TEXT_LENGTH = 40  # captions take at most 33 tokens; shorter than 64 saves time, not results
PLACE = {"left": "on the left", "middle": "in the middle", "right": "on the right"}
LAND_WORDS = {
    "mountains": ("the mountains", "mountains"),
    "sea": ("the sea",),
    "meadow": ("a meadow", "the meadow"),
    "desert": ("the desert", "a desert"),
    "hills": ("the hills", "green hills"),
    "snow": ("the snow", "a field of snow"),
}


def caption(scene: Scene, generator: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A caption in one of many wordings, and the attributes that it names, kind to value."""

    def pick(*choices: str) -> str:
        return choices[int(generator.integers(len(choices)))]

    def placed(phrase: str, kind: str, side: str) -> str:
        if generator.random() < 0.7:
            named[kind] = side
            phrase += " " + PLACE[side]
        return phrase

    named = {"time": scene.time, "land": scene.land}
    land = pick(*LAND_WORDS[scene.land])
    weather = ""
    if generator.random() < 0.5:
        weather = "cloudy" if scene.cloudy else "clear"
        named["clouds"] = weather
    setting = _setting(scene.time, land, weather, pick)
    phrases = []
    if scene.body is not None and generator.random() < 0.6:
        named["body"] = scene.body
        article = "the" if scene.body == "sun" else pick("a", "the")
        phrases.append(placed(f"{article} {scene.body}", "body side", str(scene.body_side)))
    if scene.house is not None and scene.house_side is not None:
        named["house"] = scene.house
        phrase = pick(f"{_a(scene.house)} house", f"a house with {scene.house} walls")
        phrases.append(placed(phrase, "house side", scene.house_side))
    if scene.trees is not None and scene.tree_count is not None:
        named["trees"], named["tree count"] = scene.trees, scene.tree_count
        if scene.tree_count == "one":
            phrases.append(pick(f"one {scene.trees} tree", f"a {scene.trees} tree"))
        else:
            phrases.append(f"{scene.tree_count} {scene.trees} trees")
    if scene.sail is not None:
        named["sail"] = scene.sail
        phrases.append(
            pick(f"a boat with {_a(scene.sail)} sail", f"a sailing boat with {_a(scene.sail)} sail")
        )
    if scene.balloon is not None and scene.balloon_side is not None:
        named["balloon"] = scene.balloon
        phrase = pick(f"{_a(scene.balloon)} balloon", f"{_a(scene.balloon)} hot air balloon")
        phrases.append(placed(phrase, "balloon side", scene.balloon_side))
    return _join(setting, [phrases[i] for i in generator.permutation(len(phrases))], pick), named


def _a(word: str) -> str:
    """The word with its article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _setting(time: str, land: str, weather: str, pick: Pick) -> str:
    name = time if time != "day" else pick("day", "daytime")
    by = {"day": "by day", "night": "at night"}.get(time, f"at {time}")
    sky = f"{weather} " if weather else ""
    article = f"a {sky}" if weather else ""
    return pick(
        f"{article}{name} over {land}",
        f"{sky}{name} over {land}",
        f"{land} {by}" + (f" under a {weather} sky" if weather else ""),
        f"{land} on a {sky}{time}" if weather else f"{land} {by}",
    )


def _join(setting: str, phrases: Sequence[str], pick: Pick) -> str:
    if not phrases:
        return setting
    match pick("list", "list", "list", "with", "and", "objects first"):
        case "with":
            return f"{setting} with " + ", ".join(phrases)
        case "and":
            return ", ".join([setting, *phrases[:-1]]) + " and " + phrases[-1]
        case "objects first":
            return ", ".join([*phrases, setting])
        case _:
            return ", ".join([setting, *phrases])


class Captioner:
    """Scenes to text ids, a new wording each time, some replaced by the unconditional stream."""

    def __init__(self, tokenizer: TextTokenizer, dropout: float) -> None:
        self.tokenizer, self.dropout = tokenizer, dropout

    def __call__(
        self, scenes: list[Scene], generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Text ids int64 [scenes, TEXT_LENGTH] and what they name, int64 [scenes, heads]."""
        rows, targets = [], []
        for scene in scenes:
            text, named = caption(scene, generator)
            encoded = self.tokenizer.encode(text)
            assert encoded.length <= TEXT_LENGTH
            dropped = generator.random() < self.dropout
            rows.append((np.array(UNCONDITIONAL) if dropped else encoded.ids)[:TEXT_LENGTH])
            targets.append([-100] * len(HEADS) if dropped else named_targets(named))
        return torch.from_numpy(np.stack(rows)), torch.tensor(targets)


def learn_vocabulary(
    texts: Sequence[str], merge_count: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges by frequency, ties by spelling; every printable ASCII character is known."""
    words = Counter(word for text in texts for word in normalise(text).split(" ") if word)
    splits = {word: [WORD_START, *word] for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < merge_count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in splits.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in splits.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [parts[at] + parts[at + 1]]
                at += 1
    alphabet = [WORD_START, *(chr(code) for code in range(33, 127) if not chr(code).isupper())]
    pieces = [*SPECIAL_TOKENS, *alphabet, *(first + second for first, second in merges)]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}, merges


def sample_captions(count: int, seed: int) -> list[str]:
    """Captions of random training scenes."""
    generator = np.random.default_rng(seed)
    return [caption(sample_scene(generator, False), generator)[0] for _ in range(count)]


def write_vocabulary(folder: Path, seed: int = 0) -> TextTokenizer:
    """Learn the vocabulary from 20,000 captions and write `vocab.json` and `merges.txt`.

    Files that are there already are kept: a model is bound to the vocabulary it was trained with.
    """
    paths = folder / "vocab.json", folder / "merges.txt"
    if not all(path.exists() for path in paths):
        vocab, merges = learn_vocabulary(sample_captions(20_000, seed), MERGES)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(vocab, ensure_ascii=False, indent=0)
        paths[0].write_text(text + "\n", encoding="utf-8")
        lines = ["#version: 0.2\n", *(f"{first} {second}\n" for first, second in merges)]
        paths[1].write_text("".join(lines), encoding="utf-8")
    return TextTokenizer.from_files(*paths)


def main() -> None:
    """Print captions, or learn the vocabulary."""
    arguments = parse(
        __doc__,
        {
            "count": (20, "captions to print"),
            "seed": (0, "of the captions"),
            "vocabulary": (Path, "write the vocabulary to this folder"),
        },
    )
    texts = sample_captions(arguments.count, arguments.seed)
    if arguments.vocabulary is None:
        print("\n".join(texts))
        return
    tokenizer = write_vocabulary(arguments.vocabulary)
    lengths = [tokenizer.encode(text).length for text in sample_captions(2000, 1)]
    print(
        f"{len(tokenizer.vocab)} tokens, {len(tokenizer.ranks)} merges; "
        f"captions take {np.mean(lengths):.1f} tokens, at most {max(lengths)}"
    )


if __name__ == "__main__":
    main()
