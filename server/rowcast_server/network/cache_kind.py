"""What a decoder graph remembers of each token; self_attention.py has what each kind does."""

from __future__ import annotations

from enum import StrEnum


class CacheKind(StrEnum):
    """Keys and values, or the states that they are made from: half the memory, more time."""

    KEYS_AND_VALUES = "keys-values"
    STATES = "states"


def usual_cache(int8: bool) -> CacheKind:
    """States, which cost a little speed; in int8, which is chosen for speed, they cost much."""
    return CacheKind.KEYS_AND_VALUES if int8 else CacheKind.STATES
