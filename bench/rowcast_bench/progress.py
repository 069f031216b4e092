"""Progress of a benchmark: a bar on a terminal, elsewhere a line for each stage.

Stages are planned before the first begins, so that each line tells what is still to come. Of how
long that takes it tells where it is known: a stage of a name that was timed before takes as long
again, and the rest of a counted one as long as its first part in proportion.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

LINE_SECONDS: Final = 30.0  # between lines of a long counted stage
LEAST_TOLD: Final = 5.0  # seconds to go; fewer are not worth a word


class Progress:
    """The stages of ``plan``, in order, on a console; leaving the context ends the last one."""

    def __init__(self, console: Console, plan: Sequence[str]) -> None:
        self.console = console
        self._plan = list(plan)
        self._number = 0  # of the stage that runs, from 1
        self._begun = self._told = 0.0
        self._steps: int | None = None
        self._done = 0
        self._taken: dict[str, float] = {}  # by name, what a stage took the last time, seconds
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_stage()
        self._bar.stop()

    def stage(self, name: str, steps: int | None = None) -> None:
        """Begin the next stage of the plan, which is ``name``; ``steps`` are then counted."""
        self._end_stage()
        assert self._plan[self._number] == name, (name, self._plan[self._number])
        self._number += 1
        self._begun = self._told = time.perf_counter()
        self._steps, self._done = steps, 0
        self._bar.reset(self._task, total=steps, description=self._title)
        self._line(self._to_go(self._taken.get(name, 0.0)))

    def advance(self, count: int = 1) -> None:
        """So many more steps of this stage are done; more than were expected count as all."""
        self._done += count if self._steps is None else min(count, self._steps - self._done)
        self._bar.advance(self._task, count)
        now = time.perf_counter()
        if self._steps and now - self._told >= LINE_SECONDS:
            self._told = now
            left = (now - self._begun) * (self._steps - self._done) / self._done
            self._line(f": {self._done:,} of {self._steps:,}{self._to_go(left)}")

    def tell(self, detail: str) -> None:
        """Show a detail of this stage, on a terminal alone."""
        self._bar.update(self._task, description=f"{self._title}: {detail}")

    @property
    def _title(self) -> str:
        return f"stage {self._number} of {len(self._plan)}: {self._plan[self._number - 1]}"

    def _to_go(self, left: float) -> str:
        """The seconds of this stage and of all that follow, where each was timed before."""
        following = self._plan[self._number :]
        if not left or any(name not in self._taken for name in following):
            return ""
        seconds = left + sum(self._taken[name] for name in following)
        return f"; about {seconds:.0f} s to go" if seconds >= LEAST_TOLD else ""

    def _line(self, more: str) -> None:
        if not self.console.is_terminal:
            self.console.print(f"{self._title}{more}", highlight=False, soft_wrap=True)

    def _end_stage(self) -> None:
        if self._number:
            name = self._plan[self._number - 1]
            self._taken[name] = time.perf_counter() - self._begun
