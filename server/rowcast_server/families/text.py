"""What a tokenizer gives, whatever the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedText:
    """A prompt as ids: int64, of which the first `length` are not padding.

    `cut` tokens did not fit. `lost` characters have no token; where `is_read` is false, none of the
    prompt has.
    """

    ids: NDArray[np.int64]
    length: int
    cut: int
    lost: int = 0
    is_read: bool = True


class Tokenizer(Protocol):
    """Prompts to text ids."""

    def encode(self, text: str) -> EncodedText:
        """Tokenize a prompt. Never fails: what does not fit is cut."""
