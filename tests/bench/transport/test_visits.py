"""Visits of the server's page: what is told of them, and one in truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rowcast.errors import RowcastError
from rowcast_bench.engine.worker import Worker
from rowcast_bench.transport import visits
from rowcast_bench.transport.browser import Browser, Visited
from rowcast_bench.transport.link import LINKS
from rowcast_bench.transport.visits import rows_of, seen_figures, why_not

from tests.support.servers import running_server

DRAWN = [1.0, 1.5]
SEEN = Visited(0.0, 0.4, [(0, 0.9), (1, 1.1), (1, 1.4), (2, 1.8)], 2.5)


def test_a_rows_time_is_that_of_the_first_painting_that_shows_it() -> None:
    assert seen_figures(SEEN, DRAWN) == {
        "loaded_ms": 400.0,
        "first_row_ms": 1100.0,
        "first_row_after_drawn_ms": 100.0,
        "painted_ms": 2500.0,
        "painted_after_drawn_ms": 1000.0,
        "row_to_glass_ms": {"p50": 100.0, "p99": 300.0},
    }


def test_a_row_that_was_never_shown_is_told() -> None:
    with pytest.raises(RowcastError, match="did not show row 2"):
        seen_figures(SEEN, [*DRAWN, 2.0])


def test_a_table_has_first_visits_and_the_means_of_returns() -> None:
    def one(visit: str, more: float) -> dict[str, Any]:
        figures = seen_figures(SEEN, DRAWN)
        figures["loaded_ms"] += more
        return {"gallery": "mini", "link": "3g", "visit": visit, "link_bytes": 1000} | figures

    results = {
        "visits": [one("first", 100), one("return", 0), one("return", 50)],
        "links": {"3g": {"label": "3G"}},
        "galleries": {"mini": {"side": 256}},
    }
    assert rows_of(results) == [
        ["3G", "256 px", "first", "500", "1,100", "1,000", "100", "1,000"],
        ["3G", "256 px", "return", "425", "1,100", "1,000", "100", "1,000"],
    ]


def test_links_that_would_take_minutes_are_left_out() -> None:
    class Gallery:
        sizes = dict.fromkeys(visits.NEEDED, 1_000_000)

    short = [each.name for each in LINKS if visits.is_short(each, Gallery())]  # type: ignore[arg-type]
    assert short == ["loopback", "wifi", "lte", "3g"]


def test_without_a_browser_or_a_page_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "PAGE_FOLDER", tmp_path)
    monkeypatch.setattr(visits, "installed", lambda: "/usr/bin/chromium")
    assert why_not() == "the page is not built (make page)"
    monkeypatch.setattr(visits, "installed", lambda: None)
    assert why_not() == "no Chromium is installed"


@pytest.mark.skipif(bool(why_not()), reason=f"{why_not()}; `make test` sees to it where Node.js is")
def test_a_page_shows_every_row_while_the_picture_forms() -> None:
    with running_server("postcard") as server, Worker(Browser) as browser:
        seen = browser.call("visit", f"{server.http_url}/", 16, 3)
    held = [rows for rows, _ in seen.shown]
    assert held[-1] == 16
    assert len(set(held)) > 8  # as it forms: frames may show several rows, not most of them
    times = [when for _, when in seen.shown]
    assert times == sorted(times)
    assert seen.begun < seen.loaded < times[0] < seen.painted
