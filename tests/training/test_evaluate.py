"""The arithmetic of evaluation: what counts as right, and what the judge is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.evaluate import held_out_prompts, score
from training.scenes import is_held_out, sample_scene
from training.train_classifier import ABSENT, HEADS, Classifier, attributes, blemish, labels
from training.train_transformer import grid_waves


def test_prompts_are_held_out_and_repeatable() -> None:
    prompts = held_out_prompts(20, seed=1)
    assert all(is_held_out(scene) for _, _, scene in prompts)
    assert [text for text, _, _ in prompts] == [text for text, _, _ in held_out_prompts(20, 1)]


def test_named_attributes_agree_with_the_judges_words() -> None:
    for _, named, scene in held_out_prompts(100, seed=2):
        truth = attributes(scene)
        assert set(truth) == set(HEADS)
        assert named.items() <= truth.items()


def test_a_render_read_rightly_scores_one() -> None:
    prompts = held_out_prompts(50, seed=3)
    result = score([named for _, named, _ in prompts], [attributes(s) for _, _, s in prompts])
    assert (result["overall"], result["worst"], result["unnamed_objects_absent"]) == (1, 1, 1)


def test_errors_are_counted_by_kind() -> None:
    seen = dict.fromkeys(HEADS, ABSENT) | {"time": "day", "land": "sea", "house": "red"}
    named = [{"time": "day", "land": "sea"}, {"time": "night", "land": "sea", "house": "red"}]
    result = score(named, [seen, seen])
    assert result["overall"] == pytest.approx(4 / 5)
    assert result["worst_kind"] == "time"
    assert result["worst"] == pytest.approx(1 / 2)
    assert result["kinds"]["house"] == {"accuracy": 1.0, "count": 1}
    # In the first picture a house stands that nobody asked for.
    assert result["unnamed_objects_absent"] == pytest.approx(6 / 7)


def test_labels_index_the_heads() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(generator)
        for (kind, values), index in zip(HEADS.items(), labels(scene), strict=True):
            assert values[index] == attributes(scene)[kind]


def test_the_judge_answers_for_every_head() -> None:
    torch.manual_seed(0)
    pixels = blemish(torch.rand(2, 3, 128, 128), np.random.default_rng(0))
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    sizes = [tuple(logits.shape) for logits in Classifier().eval()(pixels)]
    assert sizes == [(2, len(values)) for values in HEADS.values()]


def test_positions_start_apart() -> None:
    waves = grid_waves(16, 256)
    assert waves.shape == (256, 256)
    assert len(torch.unique(waves, dim=0)) == 256
