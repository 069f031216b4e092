"""Settings of an export that tensors alone do not tell: name, norms, black and white.

A checkpoint may say them (safetensors ``__metadata__``, all strings, all optional): ``name``, the
name of the model; ``group_norm_epsilon``, such as "1e-06"; ``norm_groups``, such as "32";
``value_range``, the network's own black and white, such as "0..1" or "-1..1". The caller may say
them too; where both speak they must agree, because a wrong epsilon or range gives pictures that are
only slightly wrong. Where neither speaks, the checkpoint's family decides.

This module must not know torch: the command line reads its words with it before anything heavy is
imported.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from .errors import SettingsError

OPSETS: Final = (18, 17)  # the first is the default
FORMAT_VERSION: Final = "1"  # of what files say of themselves
OPTIONS: Final = {
    "group_norm_epsilon": "--group-norm-epsilon",
    "value_range": "--value-range",
}  # of the command line, by the names of settings
PRECISIONS: Final = ("fp32", "fp16", "int8")  # the first is the default

Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """Settings of one decoder. ``value_range`` is the network's own; files give 0..1 anyway."""

    name: str
    group_norm_epsilon: float = 1e-5  # torch's own, as in min-dalle; see the table of families
    value_range: tuple[float, float] = (0.0, 1.0)
    norm_groups: int = 32


def settle(
    notes: Mapping[str, str],
    defaults: Settings,
    name: str | None = None,
    group_norm_epsilon: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Settings:
    """Settings from the checkpoint's notes, else the caller (None: unsaid), else ``defaults``.

    A name given by the caller always wins. Raises SettingsError where checkpoint and caller
    disagree on the rest, or where the notes make no sense.
    """

    def settled(key: str, parse: Callable[[str], Value], given: Value | None) -> Value:
        if key not in notes:
            default: Value = getattr(defaults, key)
            return default if given is None else given
        try:
            stored = parse(notes[key])
        except ValueError as error:
            raise SettingsError(
                f"the checkpoint's {key} makes no sense ({error}); correct it there"
            ) from error
        if given is not None and given != stored:
            raise SettingsError(
                f"the checkpoint says that its {key} is {notes[key]}, not {given}; leave out "
                f"{OPTIONS[key]}"
            )
        return stored

    return Settings(
        name or notes.get("name") or defaults.name,
        settled("group_norm_epsilon", parse_epsilon, group_norm_epsilon),
        settled("value_range", parse_range, value_range),
        settled("norm_groups", parse_count, None),
    )


def assumed(notes: Mapping[str, str], settings: Settings, given: Collection[str]) -> str:
    """The settings that neither the checkpoint's notes nor the caller (``given``) said, in words.

    Empty where all were said.
    """
    black, white = settings.value_range
    words = {
        "value_range": f"{OPTIONS['value_range']} {black:g}..{white:g}",
        "group_norm_epsilon": f"{OPTIONS['group_norm_epsilon']} {settings.group_norm_epsilon:g}",
        "norm_groups": f"norms in {settings.norm_groups} groups",
    }
    return ", ".join(words[key] for key in words if key not in notes and key not in given)


def parse_epsilon(text: str) -> float:
    """Epsilon of the norms, such as "1e-6". Raises ValueError."""
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


def parse_count(text: str) -> int:
    """A whole number, 1 or more. Raises ValueError."""
    count = int(text)
    if count < 1:
        raise ValueError(f"at least 1, not {text}")
    return count


def parse_positive(text: str) -> float:
    """A number above 0. Raises ValueError."""
    number = float(text)
    if not number > 0:
        raise ValueError(f"more than 0, not {text}")
    return number


def parse_precisions(text: str) -> tuple[str, ...]:
    """Precisions as "fp32,int8", each once, in our own order. Raises ValueError."""
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in PRECISIONS]
    if unknown:
        raise ValueError(f"unknown precision {unknown[0]!r}; known: {', '.join(PRECISIONS)}")
    return tuple(precision for precision in PRECISIONS if precision in words)


def reading(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """The same parser for argparse, which then shows its words instead of its name."""

    def read(text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read
