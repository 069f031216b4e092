"""Progress reports: the type of the callbacks that long work tells where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
