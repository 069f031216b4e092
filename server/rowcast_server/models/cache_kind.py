"""What a decoder graph remembers of each token; self_attention.py has what each kind does."""

from __future__ import annotations

from enum import StrEnum


class CacheKind(StrEnum):
    """Keys and values, or the states that they are made from: half the memory, more time."""

    KEYS_AND_VALUES = "keys-values"
    STATES = "states"
