"""What the tests of training share: a vocabulary learnt once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from rowcast_server.models.text import TextTokenizer

from training.captions import learn_vocabulary, sample_captions


@pytest.fixture(autouse=True)
def _gradients() -> Iterator[None]:
    """min-dalle, which tests elsewhere import, turns them off for good."""
    with torch.enable_grad():
        yield


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(*learn_vocabulary(sample_captions(1500, 0), 250))
