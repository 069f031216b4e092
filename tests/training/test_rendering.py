"""The same scene is the same picture."""

from __future__ import annotations

import numpy as np

from training.rendering import render
from training.scenes import Scene, sample_scene


def sample(count: int, seed: int, held_out: bool | None = None) -> list[Scene]:
    generator = np.random.default_rng(seed)
    return [sample_scene(generator, held_out) for _ in range(count)]


def test_the_same_scene_is_the_same_picture() -> None:
    for scene in sample(5, 0):
        first, second = render(scene), render(scene)
        assert first.shape == (128, 128, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)
