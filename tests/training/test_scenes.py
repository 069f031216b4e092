"""The training data: the same seed gives the same scenes, and held-out pairs stay out."""

from __future__ import annotations

from training import scenes
from training.scenes import held_out_pairs, sample_scenes


def test_the_same_seed_gives_the_same_scenes() -> None:
    assert sample_scenes(20, 3) == sample_scenes(20, 3)
    assert sample_scenes(20, 3) != sample_scenes(20, 4)


def test_held_out_pairs_never_reach_training() -> None:
    assert not any(held_out_pairs(scene) for scene in sample_scenes(1000, 1, held_out=False))
    kept = sample_scenes(200, 1, held_out=True)
    assert all(held_out_pairs(scene) for scene in kept)
    assert len({pair for scene in kept for pair in held_out_pairs(scene)}) > 12


def test_every_value_is_drawn_in_training() -> None:
    drawn = sample_scenes(3000, 2, held_out=False)
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
