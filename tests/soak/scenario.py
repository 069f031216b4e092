"""The frame of `make soak`: scenarios by their names, and figures held against their bars.

A scenario is a module here with ``run(quick) -> Figures``; its docstring's first line says what it
proves. ``quick`` is the same in small.
"""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

FAULTS: Final = ("cuts", "multi_cuts", "kills", "slow_link")
LOAD: Final = (  # in the folder of that name
    *("deaf_viewers", "idle", "half_open", "viewers", "refusals", "shares", "guesses", "stop"),
    *("api_callers", "memory"),
)
CLUSTER: Final = ("replica_kills", "gateway_kills", "head_kill")
NAMES: Final = FAULTS + LOAD + CLUSTER  # in the order in which they run


class Scenario(Protocol):
    """A module of `NAMES`."""

    __doc__: str | None

    @staticmethod
    def run(quick: bool) -> Figures: ...


@dataclass(frozen=True)
class Figure:
    """A property of the system as it was measured. Without a bar it is told and not judged."""

    what: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def passes(self) -> bool:
        most = math.inf if self.most is None else self.most
        return (-math.inf if self.least is None else self.least) <= self.value <= most

    @property
    def bar(self) -> str:
        bounds = (("at least", self.least), ("at most", self.most))
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


@dataclass
class Figures:
    """What a scenario measured, or the reason why it could not be run here."""

    figures: list[Figure] = field(default_factory=list)
    not_run: str = ""

    def add(
        self,
        what: str,
        value: float,
        unit: str = "",
        *,
        most: float | None = None,
        least: float | None = None,
    ) -> None:
        self.figures.append(Figure(what, value, unit, most, least))

    @property
    def passes(self) -> bool:
        return all(figure.passes for figure in self.figures)


def scenario(name: str) -> Scenario:
    """The scenario of a name of `NAMES`."""
    inside = {**dict.fromkeys(LOAD, ".load"), **dict.fromkeys(CLUSTER, ".cluster")}
    folder = f"tests.soak{inside.get(name, '')}"
    return cast(Scenario, importlib.import_module(f"{folder}.{name}"))


def say(line: str) -> None:
    """Tell how it goes, on stderr."""
    print(line, file=sys.stderr, flush=True)


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them are: the nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
