"""What the tests of training share: a vocabulary learnt once."""

from __future__ import annotations

import pytest
from rowcast_server.models.text import TextTokenizer

from training.captions import learn_vocabulary, sample_captions


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(*learn_vocabulary(sample_captions(1500, 0), 250))
