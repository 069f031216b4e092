"""What captions name and what a scene holds agree, kind by kind."""

from __future__ import annotations

import numpy as np

from training.attributes import HEADS, attributes, labels
from training.scenes import sample_scene


def test_labels_index_the_heads() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(generator)
        for (kind, values), index in zip(HEADS.items(), labels(scene), strict=True):
            assert values[index] == attributes(scene)[kind]
