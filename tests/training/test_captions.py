"""Captions name what is drawn, in words that the learnt vocabulary knows."""

from __future__ import annotations

import numpy as np
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.facts import TEXT_POSITIONS, UNCONDITIONAL

from training.attributes import ABSENT, HEADS, OBJECTS
from training.captions import (
    TEXT_LENGTH,
    Captioner,
    caption,
    learn_vocabulary,
    sample_captions,
)
from training.scenes import sample_scenes


def test_captions_name_many_kinds_and_values() -> None:
    generator = np.random.default_rng(0)
    named = [caption(scene, generator)[1] for scene in sample_scenes(3000, 4)]
    assert len({kind for one in named for kind in one}) == 12
    assert len({pair for one in named for pair in one.items()}) >= 45


def test_captions_name_what_is_drawn() -> None:
    generator = np.random.default_rng(0)
    for scene in sample_scenes(300, 5):
        text, named = caption(scene, generator)
        assert named["land"] == scene.land
        for kind in ("house", "balloon", "sail", "trees"):
            value = getattr(scene, kind)
            assert named.get(kind) == value
            assert value is None or value in text


def test_captions_fit_and_are_known(tokenizer: TextTokenizer) -> None:
    for text in sample_captions(200, 7):
        encoded = tokenizer.encode(text)
        assert encoded.cut == 0
        assert encoded.length < TEXT_POSITIONS // 2 + 8
        assert 3 not in encoded.ids


def test_the_vocabulary_does_not_depend_on_the_order(tokenizer: TextTokenizer) -> None:
    texts = sample_captions(1500, 0)
    assert learn_vocabulary(texts[::-1], 250) == (
        tokenizer.vocab,
        list(tokenizer.ranks),
    )


def test_a_captioner_words_scenes_and_says_what_the_words_name(tokenizer: TextTokenizer) -> None:
    scenes = sample_scenes(60, 6)
    text, targets = Captioner(tokenizer, dropout=0.0)(scenes, np.random.default_rng(8))
    assert text.shape == (60, TEXT_LENGTH)
    generator = np.random.default_rng(8)
    for ids, row, scene in zip(text, targets.tolist(), scenes, strict=True):
        words, named = caption(scene, generator)
        generator.random()  # the captioner's own, for its dropout
        assert ids.tolist() == tokenizer.encode(words).ids[:TEXT_LENGTH].tolist()
        told = {
            kind: values[index]
            for (kind, values), index in zip(HEADS.items(), row, strict=True)
            if index != -100
        }
        assert named.items() <= told.items()
        assert {told[kind] for kind in told.keys() - named.keys()} <= {ABSENT}
        assert told.keys() >= set(OBJECTS)


def test_a_caption_dropped_is_the_empty_prompt_and_names_nothing(tokenizer: TextTokenizer) -> None:
    text, targets = Captioner(tokenizer, dropout=1.0)(sample_scenes(3, 6), np.random.default_rng(8))
    assert text.tolist() == [list(UNCONDITIONAL[:TEXT_LENGTH])] * 3
    assert set(targets.flatten().tolist()) == {-100}
