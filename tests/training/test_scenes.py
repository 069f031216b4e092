"""The training data: the same scene is the same picture, and held-out pairs stay out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rowcast_server.models.text import TEXT_POSITIONS, TextTokenizer

from training import scenes
from training.captions import caption, learn_vocabulary, sample_captions
from training.networks import CODEBOOK_SIZE, code_table, quantise
from training.scenes import held_out_pairs, is_held_out, render, sample_scene


def sample(count: int, seed: int, held_out: bool | None = None) -> list[scenes.Scene]:
    generator = np.random.default_rng(seed)
    return [sample_scene(generator, held_out) for _ in range(count)]


def test_the_same_scene_is_the_same_picture() -> None:
    for scene in sample(5, 0):
        first, second = render(scene), render(scene)
        assert first.shape == (128, 128, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)


def test_the_same_seed_gives_the_same_scenes() -> None:
    assert sample(20, 3) == sample(20, 3)
    assert sample(20, 3) != sample(20, 4)


def test_held_out_pairs_never_reach_training() -> None:
    assert not any(is_held_out(scene) for scene in sample(1000, 1, held_out=False))
    kept = sample(200, 1, held_out=True)
    assert all(is_held_out(scene) for scene in kept)
    assert len({pair for scene in kept for pair in held_out_pairs(scene)}) > 12


def test_every_value_is_drawn_in_training() -> None:
    drawn = sample(3000, 2, held_out=False)
    for field, values in (
        ("time", scenes.TIMES),
        ("land", scenes.LANDS),
        ("body", scenes.BODIES),
        ("body_side", scenes.SIDES),
        ("house", scenes.HOUSE_COLOURS),
        ("house_side", scenes.HOUSE_SIDES),
        ("trees", scenes.TREES),
        ("tree_count", scenes.COUNTS),
        ("sail", scenes.SAIL_COLOURS),
        ("balloon", scenes.BALLOON_COLOURS),
        ("balloon_side", scenes.SIDES),
    ):
        assert {getattr(scene, field) for scene in drawn} >= set(values)


def test_captions_name_many_kinds_and_values() -> None:
    generator = np.random.default_rng(0)
    named = [caption(scene, generator)[1] for scene in sample(3000, 4)]
    assert len({kind for one in named for kind in one}) == 12
    assert len({pair for one in named for pair in one.items()}) >= 45


def test_captions_name_what_is_drawn() -> None:
    generator = np.random.default_rng(0)
    for scene in sample(300, 5):
        text, named = caption(scene, generator)
        assert named["land"] == scene.land
        for kind in ("house", "balloon", "sail", "trees"):
            value = getattr(scene, kind)
            assert named.get(kind) == value
            assert value is None or value in text


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(*learn_vocabulary(sample_captions(1500, 0), 250))


def test_captions_fit_and_are_known(tokenizer: TextTokenizer) -> None:
    for text in sample_captions(200, 7):
        encoded = tokenizer.encode(text)
        assert not encoded.truncated
        assert encoded.length < TEXT_POSITIONS // 2 + 8
        assert 3 not in encoded.ids


def test_the_vocabulary_does_not_depend_on_the_order(tokenizer: TextTokenizer) -> None:
    texts = sample_captions(1500, 0)
    assert learn_vocabulary(texts[::-1], 250) == (
        tokenizer.vocab,
        list(tokenizer.ranks),
    )


def test_codes_and_vectors_agree() -> None:
    table = code_table()
    assert table.shape == (CODEBOOK_SIZE, 4)
    latent = torch.linspace(-3, 3, 4 * 5 * 7).reshape(1, 4, 5, 7).roll(2, dims=1)
    vectors, ids = quantise(latent)
    torch.testing.assert_close(vectors[0], table[ids[0]].permute(2, 0, 1))
