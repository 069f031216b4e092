"""What tensors alone do not say about a decoder: its name, its norm epsilon, its black and white.

A checkpoint may say it (see `export.py`), the caller may; they must not disagree, because a wrong
epsilon or range gives pictures that are only slightly wrong. This module must not know torch: the
command line reads its words with it before anything heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

OPSETS: Final = (18, 17)  # the first is the default
DEFAULT_EPSILON: Final = 1e-5  # torch's own, as in min-dalle; the flax and taming originals: 1e-6
DEFAULT_RANGE: Final = (0.0, 1.0)

Value = TypeVar("Value")


class SettingsError(ValueError):
    """A checkpoint whose words about itself make no sense, or contradict the caller's."""


@dataclass(frozen=True)
class Settings:
    """`value_range` is what the network calls black and white; its file gives 0..1 regardless."""

    name: str
    group_norm_epsilon: float = DEFAULT_EPSILON
    value_range: tuple[float, float] = DEFAULT_RANGE


def settle(
    notes: Mapping[str, str],
    default_name: str,
    name: str | None = None,
    group_norm_epsilon: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Settings:
    """What the checkpoint's notes say, else what the caller says (None: nothing), else defaults.

    A name given by the caller always wins. Raises SettingsError where checkpoint and caller
    disagree on the rest, or where the notes make no sense.
    """
    return Settings(
        name or notes.get("name") or default_name,
        _settle(notes, "group_norm_epsilon", parse_epsilon, group_norm_epsilon, DEFAULT_EPSILON),
        _settle(notes, "value_range", parse_range, value_range, DEFAULT_RANGE),
    )


def parse_epsilon(text: str) -> float:
    """A small positive number such as "1e-6". Raises ValueError."""
    epsilon = float(text)
    if not 0 < epsilon < 1:
        raise ValueError(f"an epsilon lies between 0 and 1, not {text}")
    return epsilon


def parse_range(text: str) -> tuple[float, float]:
    """Black and white as "0..1" or "-1..1". Raises ValueError."""
    black, separator, white = text.partition("..")
    if not separator:
        raise ValueError(f"a range is written like 0..1 or -1..1, not {text}")
    low, high = float(black), float(white)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range runs from black up to white, not {text}")
    return low, high


def _settle(
    notes: Mapping[str, str],
    key: str,
    parse: Callable[[str], Value],
    given: Value | None,
    default: Value,
) -> Value:
    """One setting: the checkpoint's, the caller's or the default, in that order."""
    if key not in notes:
        return default if given is None else given
    try:
        stored = parse(notes[key])
    except ValueError as error:
        raise SettingsError(f"the checkpoint's {key} makes no sense: {error}") from error
    if given is not None and given != stored:
        raise SettingsError(f"the checkpoint says that its {key} is {notes[key]}, not {given}")
    return stored
