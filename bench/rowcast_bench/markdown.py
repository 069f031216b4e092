"""Tables in Markdown, of which the reports of benchmarks are made: for a terminal and for docs/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Columns = tuple[tuple[str, str, str], ...]  # titles, keys of figures, formats as of `format`


def table(head: Iterable[object], lines: Iterable[Iterable[object]]) -> str:
    """A table with one line for each of ``lines``."""
    titles = list(head)
    rows: list[Iterable[object]] = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def cells(columns: Columns, figures: Mapping[str, Any]) -> list[str]:
    """The figures of these columns; an empty cell for each that is not there."""
    return [format(figures[key], form) if key in figures else "" for _, key, form in columns]
