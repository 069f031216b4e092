"""The frame of the soak scenarios: what is counted, what passes, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from . import scenario
from .__main__ import main
from .scenario import NAMES, Figures, percentile


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_says_what_it_proves(name: str) -> None:
    module = scenario.scenario(name)
    first, empty, *_ = (module.__doc__ or "").splitlines()
    assert first.endswith(".")
    assert empty == ""
    assert callable(module.run)


@pytest.mark.parametrize(
    ("lost", "code", "line"),
    [(0, 0, "rows lost 0 at most 0"), (2, 1, "rows lost 2 at most 0 FAILS")],
)
def test_a_missed_bar_is_told_and_ends_it_with_1(
    lost: int,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def run(quick: bool) -> Figures:
        figures = Figures()
        figures.add("rows lost", lost, most=0)
        return figures

    stand_in(monkeypatch, run)
    assert main([NAMES[0], "--quick", f"--json={tmp_path / 'figures'}"]) == code
    shown = capsys.readouterr().out.splitlines()[0]
    assert shown.split() == [NAMES[0], *line.split()]
    told = json.loads((tmp_path / "figures").read_text())
    assert told[NAMES[0]]["figures"][0]["value"] == lost


def test_a_scenario_that_breaks_has_failed_and_the_next_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(quick: bool) -> Figures:
        raise OSError("no port is free")

    stand_in(monkeypatch, run)
    assert main([NAMES[0], NAMES[0]]) == 1
    assert "no port is free" in capsys.readouterr().err


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.9, 1.0)] == [50, 90, 100]
    assert percentile([3.0], 0.5) == 3


def stand_in(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """A module in place of the first scenario."""
    module = ModuleType(f"tests.soak.{NAMES[0]}", "It stands in.\n")
    module.__dict__["run"] = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
