"""The judge: what it is shown, and what it answers."""

from __future__ import annotations

import numpy as np
import torch

from training.attributes import HEADS
from training.train_classifier import Classifier, blemish


def test_the_judge_answers_for_every_head() -> None:
    torch.manual_seed(0)
    pixels = blemish(torch.rand(2, 3, 128, 128), np.random.default_rng(0))
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    sizes = [tuple(logits.shape) for logits in Classifier().eval()(pixels)]
    assert sizes == [(2, len(values)) for values in HEADS.values()]
