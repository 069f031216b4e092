"""First and return visits of the server's page, in a browser at the near end of each link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from rowcast.errors import RowcastError
from rowcast_server.gateway.page import PAGE_FOLDER

from .browser import Visited, installed
from .derived import FAST
from .galleries import Gallery
from .link import LinkFacts
from .measure import Side
from .results import Kept
from .sender import Order
from .ways import ALL

Figures = dict[str, Any]
MOST_SECONDS: Final = 60.0  # that a link needs for a first visit's files; a longer one is left out
KINDS: Final = ("first", "return", "return")
TOKENS: Final = next(each for each in ALL if each.name == "tokens_preview")
NEEDED: Final = ("palette uint8", "preview_weights int8")


def why_not() -> str:
    """The reason why no page can be visited here; empty if one can."""
    if installed() is None:
        return "no Chromium is installed"
    return "" if (PAGE_FOLDER / "index.html").is_file() else "the page is not built (make page)"


def is_short(facts: LinkFacts, gallery: Gallery) -> bool:
    """True if a first visit's files pass the link soon enough."""
    size = sum(gallery.sizes.get(name, 0) for name in NEEDED)
    return not facts.rate or 8 * size / facts.rate < MOST_SECONDS


def visits(side: Side, shown: Sequence[Gallery], paces: Sequence[str], kept: Kept) -> list[Figures]:
    """Of each gallery a first visit and two returns; those that were measured are kept."""
    found = []
    for gallery in shown:
        pace = FAST[gallery.name]
        if pace not in paces or not is_short(side.facts, gallery):
            continue
        where = {"gallery": gallery.name, "pace": pace, "link": side.facts.name}
        key = " ".join(["visits", *where.values()])
        told = kept.get(key)
        if told is None:
            told = {"visits": [where | each for each in _visits(side, gallery, pace)]}
            kept.put(key, told)
        found += told["visits"]
    return found


def _visits(side: Side, gallery: Gallery, pace: str) -> Iterator[Figures]:
    """Visit after visit with one profile. Raises RowcastError where the page fails."""
    with side.browser() as browser:
        for number, kind in enumerate(KINDS):
            side.sender.call("prepare", Order(gallery.name, TOKENS, gallery.paces[pace]))
            before = side.link.carried[0] if side.link else 0
            address = side.page_of(gallery.name)
            seen: Visited = browser.call("visit", address, gallery.rows, number % len(gallery.ids))
            drawn, _ = side.sender.call("count")
            told: Figures = {"visit": kind} | seen_figures(seen, drawn[-1])
            if side.link:
                told["link_bytes"] = side.link.carried[0] - before
            yield told


def seen_figures(seen: Visited, drawn: Sequence[float]) -> Figures:
    """Milliseconds of a visit: since it began, and of each row since it was drawn."""
    glass = []
    for row, when in enumerate(drawn):
        visible = next((at for held, at in seen.shown if held > row), None)
        if visible is None:
            raise RowcastError(f"the page did not show row {row}")
        glass.append(1e3 * (visible - when))
    first = next(at for held, at in seen.shown if held > 0)
    return {
        "loaded_ms": round(1e3 * (seen.loaded - seen.begun), 1),
        "first_row_ms": round(1e3 * (first - seen.begun), 1),
        "first_row_after_drawn_ms": round(1e3 * (first - drawn[0]), 1),
        "painted_ms": round(1e3 * (seen.painted - seen.begun), 1),
        "painted_after_drawn_ms": round(1e3 * (seen.painted - drawn[-1]), 1),
        "row_to_glass_ms": {
            name: round(float(np.percentile(glass, share, method="inverted_cdf")), 1)
            for name, share in (("p50", 50), ("p99", 99))
        },
    }


def rows_of(results: Mapping[str, Any]) -> list[list[str]]:
    """The lines of a table: each first visit, and the mean of the returns after it."""
    lines = []
    for first in (each for each in results["visits"] if each["visit"] == "first"):
        same = [
            each
            for each in results["visits"]
            if all(each[name] == first[name] for name in ("gallery", "link"))
        ]
        for kind in dict.fromkeys(KINDS):
            found = [each for each in same if each["visit"] == kind]
            times = [
                float(np.mean([each[name] for each in found]))
                for name in ("loaded_ms", "first_row_ms", "painted_after_drawn_ms")
            ]
            glass = float(np.median([each["row_to_glass_ms"]["p50"] for each in found]))
            sizes = [each["link_bytes"] for each in found if "link_bytes" in each]
            lines.append(
                [
                    results["links"][first["link"]]["label"],
                    f"{results['galleries'][first['gallery']]['side']} px",
                    kind,
                    *(f"{each:,.0f}" for each in times),
                    f"{glass:,.0f}",
                    f"{np.mean(sizes):,.0f}" if sizes else "",
                ]
            )
    return lines
