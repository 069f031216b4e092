"""Each stage is a line where output is no terminal; time to go is told where it is known."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rowcast_bench.progress import Progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


def lines(play: Callable[[Progress], None], plan: list[str]) -> list[str]:
    text = io.StringIO()
    with Progress(Console(file=text, width=40), plan) as shown:
        play(shown)
    return text.getvalue().splitlines()


def test_a_line_for_each_stage_and_time_to_go_once_all_that_follows_was_timed(
    clock: Clock,
) -> None:
    def play(shown: Progress) -> None:
        for seconds, name in (
            (3, "load"),
            (20, "ours"),
            (10, "theirs"),
            (20, "ours"),
            (9, "theirs"),
        ):
            shown.stage(name)
            shown.tell("for a terminal alone")
            clock.now += seconds

    assert lines(play, ["load", "ours", "theirs", "ours", "theirs"]) == [
        "stage 1 of 5: load",
        "stage 2 of 5: ours",
        "stage 3 of 5: theirs",
        "stage 4 of 5: ours; about 30 s to go",
        "stage 5 of 5: theirs; about 10 s to go",
    ]


def test_a_long_counted_stage_tells_every_half_minute_how_far_it_is(clock: Clock) -> None:
    def play(shown: Progress) -> None:
        shown.stage("rows of 16 jobs", steps=3_000)
        for _ in range(6):
            clock.now += 10
            shown.advance(600)

    assert lines(play, ["rows of 16 jobs"]) == [
        "stage 1 of 1: rows of 16 jobs",
        "stage 1 of 1: rows of 16 jobs: 1,800 of 3,000; about 20 s to go",
        "stage 1 of 1: rows of 16 jobs: 3,000 of 3,000",
    ]


def test_on_a_terminal_there_is_a_bar_and_no_lines() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80)
    with Progress(console, ["drawing"]) as shown:
        shown.stage("drawing", steps=2)
        shown.advance()
        shown.tell("row 1")
    assert "stage 1 of 1: drawing: row 1" in text.getvalue()
    assert "\nstage" not in text.getvalue()


def test_a_stage_that_was_not_planned_is_a_mistake() -> None:
    with (
        Progress(Console(file=io.StringIO()), ["drawing"]) as shown,
        pytest.raises(AssertionError, match="painting"),
    ):
        shown.stage("painting")
