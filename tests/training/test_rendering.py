"""The same scene is the same picture."""

from __future__ import annotations

import numpy as np

from training.rendering import render
from training.scenes import sample_scenes


def test_the_same_scene_is_the_same_picture() -> None:
    for scene in sample_scenes(5, 0):
        first, second = render(scene), render(scene)
        assert first.shape == (128, 128, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)
