"""`rowcast bench engine --against`: two revisions of the engine serve, and are asked in turn."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_bench.engine import revisions


@pytest.mark.timeout(300)
def test_a_revision_is_measured_beside_the_working_tree(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    monkeypatch.setattr(revisions, "ROUNDS", 1)
    monkeypatch.setattr(revisions, "READ_BYTES", 1 << 24)
    monkeypatch.setattr(revisions, "JOBS", (1, 2))
    text = io.StringIO()
    figures = revisions.run("HEAD", "small", 1, Console(file=text, width=200))
    assert figures["against"] in text.getvalue()
    for jobs in (1, 2):
        old, new = (figures[f"{side}_ms_per_token_{jobs}"] for side in ("old", "new"))
        assert figures[f"ratio_{jobs}"] == pytest.approx(old / new, rel=0.05)
    assert figures["new_memory_ceiling_share"] > 0
    assert "stage 4 of 4: old revision, 2 pictures" in text.getvalue()


def test_a_revision_that_is_not_there_is_told(own_cache: Path) -> None:
    with pytest.raises(RowcastError, match="no-such-revision"):
        revisions.run("no-such-revision", "small", 1, Console(file=io.StringIO()))
