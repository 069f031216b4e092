"""The arithmetic of evaluation: what counts as right, and what is asked."""

from __future__ import annotations

import pytest

from training.attributes import ABSENT, HEADS, attributes
from training.evaluate import held_out_prompts, score
from training.scenes import held_out_pairs


def test_prompts_are_held_out_and_repeatable() -> None:
    prompts = held_out_prompts(20, seed=1)
    assert all(held_out_pairs(scene) for _, _, scene in prompts)
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
