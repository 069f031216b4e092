"""`rowcast bench transport`: bandwidth against latency, by every way of showing what forms.

The same pictures go through every way over every link, at the pace at which they were drawn or as
a GPU would draw them; then what follows from the figures is computed, drawn and told.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_server.config import usable_cores
from rowcast_server.gateway.page import PAGE_FOLDER

from ..machine import describe, gigaflops
from ..progress import Progress
from . import appraise, derived, galleries, plots, visits
from .galleries import Gallery
from .link import LINKS, LinkFacts, why_not
from .measure import (
    MOST_SECONDS,
    Figures,
    Side,
    computed,
    fill_cache,
    seconds_expected,
    side,
)
from .page import report
from .results import SCHEMA, Kept, write
from .sender import THREADS
from .ways import Way, usable_ways

FILES: Final = "files, and pictures that postcard draws"
APPRAISED: Final = "decodes, and the quality of pictures that form"
LIBRARIES: Final = (
    *("onnxruntime", "websockets", "aiohttp", "httpx", "pillow", "scikit-image", "playwright"),
)


@dataclass(frozen=True)
class Plan:
    """What is measured. ``seconds`` is what a combination may take, in which it has at least one
    picture and at most ``pictures``; one that would take ``most_seconds`` a picture is computed.
    The link of the name ``again`` is measured twice."""

    links: Sequence[LinkFacts]
    seconds: float
    pictures: int
    most_seconds: float
    again: str | None = None
    paces: Sequence[str] = ("recorded", *galleries.PACES)
    shape: Any = None  # of the decoder with random weights; None is DALL·E Mini's


THOROUGH: Final = Plan(LINKS, 3.0, 3, MOST_SECONDS, "3g")
BRIEF: Final = Plan((LINKS[0], LINKS[3]), 1.0, 2, 8.0, None, ("recorded", "20ms"))


def run(
    console: Console, quick: bool, out: Path, plan: Plan | None = None
) -> tuple[dict[str, Any], str]:
    """Measure, and write results and plots into ``out``; ``plan`` is that of ``quick`` if None."""
    begun = time.perf_counter()
    plan = plan or (BRIEF if quick else THOROUGH)
    name = "transport-quick" if quick else "transport"
    reason = why_not() if any(link.rate for link in plan.links) else ""
    links = [link for link in plan.links if not (link.rate and reason)]
    stages = [FILES, APPRAISED, *(_stage(link, again) for link, again in _passes(plan, links))]
    ways = usable_ways()
    with Progress(console, stages) as progress, tempfile.TemporaryDirectory() as cache:
        load = os.getloadavg()[0]
        progress.stage(FILES)
        kept, shown = _begin(plan, out / f"{name}.partial.json", ways, progress.tell)
        fill_cache(shown, Path(cache))
        progress.stage(APPRAISED, sum(each.rows for each in shown) + len(shown) * len(ways))
        figures = _appraised(kept, shown, ways, plan.pictures, progress.advance)
        found: dict[bool, list[Figures]] = {False: [], True: []}
        visited: list[Figures] = []
        no_page = visits.why_not()
        for link, again in _passes(plan, links):
            progress.stage(_stage(link, again), _count(shown, plan, ways))
            with _Stand(link, shown, Path(cache)) as stand:
                pass_ = _Pass(stand, plan, kept, found[False], figures["costs"], again)
                found[again] += pass_.combinations(shown, ways, progress)
                if not (again or no_page):
                    progress.tell("the page in a browser")
                    visited += visits.visits(stand.side, shown, plan.paces, kept)
    results = _conditions(quick, load, reason, links, ways, shown, figures, plan)
    results["combinations"] = found[False]
    results |= {"visits": visited, "visits_not_run": no_page}
    eight, end = (next(way for way in ways if way.name == each) for each in ("jpeg_8", "jpeg_end"))
    ours = next(
        each
        for each in found[False]
        if (each["gallery"], each["way"]) == ("mini", "tokens_preview")
    )
    results["grids"] = appraise.grid_sizes(eight, end, ours["payload_bytes"])
    first = [each for each in found[False] if each["link"] == plan.again]
    results["repeatability"] = derived.deviations(first, found[True]) if found[True] else None
    results["derived"] = derived.derive(results)
    results["seconds"] = round(time.perf_counter() - begun, 1)
    write(out / f"{name}.json", results)
    plots.draw(results, out / "plots")
    kept.remove()
    told = {key: results[key] for key in ("link_kind", "seconds", "repeatability")}
    more = {"file": str(out / f"{name}.json"), "expectations": results["derived"]["expectations"]}
    return told | more, report(results)


def _begin(
    plan: Plan, partial: Path, ways: Sequence[Way], tell: Callable[[str], object]
) -> tuple[Kept, list[Gallery]]:
    """What is kept of a run that was stopped, and the galleries, with its recorded times."""
    conditions = {
        "schema": SCHEMA,
        "machine": describe(),
        "plan": str(plan),
        "ways": [each.name for each in ways],
        "versions": _versions(),
    }
    kept = Kept(partial, conditions)
    postcard = galleries.postcard(plan.pictures)
    if "recorded" in kept.other:
        postcard.paces["recorded"] = kept.other["recorded"]
    kept.other["recorded"] = postcard.paces["recorded"]
    return kept, [postcard, galleries.mini(plan.pictures, plan.shape, tell)]


def _appraised(
    kept: Kept,
    shown: Sequence[Gallery],
    ways: Sequence[Way],
    pictures: int,
    advance: Callable[[], object],
) -> Figures:
    """Costs of decodes and qualities, by gallery; those of a run that was stopped are kept."""
    if "appraised" not in kept.other:
        kept.other["appraised"] = {
            "costs": {each.name: appraise.decode_costs(each, advance) for each in shown},
            "quality": {
                each.name: appraise.qualities(each, ways, pictures, advance) for each in shown
            },
            "gigaflops": round(gigaflops(THREADS), 1),
        }
    found: Figures = kept.other["appraised"]
    return found


def _passes(plan: Plan, links: Sequence[LinkFacts]) -> list[tuple[LinkFacts, bool]]:
    again = [(link, True) for link in links if link.name == plan.again]
    return [(link, False) for link in links] + again


def _stage(link: LinkFacts, again: bool) -> str:
    return f"{link.label}{', once more' if again else ''}"


def _count(shown: Sequence[Gallery], plan: Plan, ways: Sequence[Way]) -> int:
    return len(ways) * sum(len([p for p in each.paces if p in plan.paces]) for each in shown)


class _Stand:
    """A link's two ends, made when they are needed, and anew after something failed there."""

    def __init__(self, link: LinkFacts, shown: Sequence[Gallery], cache: Path) -> None:
        self.link = link
        self._shown, self._cache = shown, cache
        self._stack = ExitStack()
        self._side: Side | None = None

    def __enter__(self) -> _Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._side = None

    @property
    def side(self) -> Side:
        """Both ends."""
        if self._side is None:
            made = side(self.link, self._shown, self._cache)
            self._side = self._stack.enter_context(made)
        return self._side

    def measure(self, gallery: Gallery, pace: str, way: Way, pictures: int) -> Figures:
        """As `Side.measure`, tried twice."""
        for is_last in (False, True):
            try:
                return self.side.measure(gallery, pace, way, pictures)
            except RowcastError:
                self.__exit__()
                if is_last:
                    raise
        raise AssertionError


@dataclass
class _Pass:
    """All combinations of a link."""

    stand: _Stand
    plan: Plan
    kept: Kept
    found: list[Figures]  # of the links before
    costs: dict[str, list[dict[str, float]]]
    again: bool

    def combinations(
        self, shown: Sequence[Gallery], ways: Sequence[Way], progress: Progress
    ) -> list[Figures]:
        """Measure or compute, gallery by gallery, each way in turn."""
        told = []
        for gallery in shown:
            for pace in (each for each in gallery.paces if each in self.plan.paces):
                for way in ways:
                    progress.tell(f"{gallery.name}, {pace}, {way.name}")
                    told.append(self._one(gallery, pace, way))
                    progress.advance()
        return told

    def _one(self, gallery: Gallery, pace: str, way: Way) -> Figures:
        link = self.stand.link
        where = {"gallery": gallery.name, "pace": pace, "link": link.name, "way": way.name}
        key = " ".join([*where.values(), *(["again"] if self.again else [])])
        figures = self.kept.get(key)
        if figures is None:
            figures = where | self._figures(gallery, pace, way)
            self.kept.put(key, figures)
        return figures

    def _figures(self, gallery: Gallery, pace: str, way: Way) -> Figures:
        link, times, pictures = self.stand.link, gallery.paces[pace], self.plan.pictures
        if link.rate:
            where = gallery.name, pace, way.name
            base = next(
                each
                for each in self.found
                if (each["gallery"], each["pace"], each["way"]) == where
                and each["link"] != link.name
            )
            expected = seconds_expected(link, base, times)
            if expected > self.plan.most_seconds and way.protocol != "tokens":
                same = ("server_cpu_ms", "server_decode_cpu_ms", "server_decodes", "client_cpu_ms")
                return (
                    {"kind": "computed"}
                    | computed(link, base, times)
                    | {name: base[name] for name in same}
                )
        else:
            expected = times[-1] + (4.0 if way.name == "tokens_full" else 0.2)
        pictures = max(1, min(pictures, int(self.plan.seconds / expected)))
        figures = self.stand.measure(gallery, pace, way, pictures)
        seen = figures["frames_a_picture"]
        costs = self.costs[gallery.name]
        cpu, decodes = appraise.server_decode_ms(way, costs, seen, gallery.is_decoded)
        figures |= {"server_decode_cpu_ms": round(cpu, 2), "server_decodes": round(decodes, 2)}
        if not gallery.is_decoded:
            figures["server_cpu_ms"] = round(figures["server_cpu_ms"] + cpu, 3)
        return {"kind": "measured"} | figures


def _conditions(
    quick: bool,
    load: float,
    reason: str,
    links: Sequence[LinkFacts],
    ways: Sequence[Way],
    shown: Sequence[Gallery],
    figures: Figures,
    plan: Plan,
) -> Figures:
    """What was measured, on what, and what needs no link."""
    return {
        "schema": SCHEMA,
        "machine": describe(),
        "cores": usable_cores(),
        "gigaflops": figures["gigaflops"],
        "versions": _versions(),
        "command": "rowcast bench transport" + (" --quick" if quick else ""),
        "quick": quick,
        "seconds": 0.0,
        "load_before": round(load, 2),
        "link_kind": "tun" if any(link.rate for link in links) else "none",
        "not_run": reason,
        "links": {each.name: asdict(each) for each in links},
        "paces": list(plan.paces),
        "ways": {each.name: asdict(each) for each in ways},
        "galleries": {
            each.name: {
                "label": each.label,
                "side": each.side,
                "rows": each.rows,
                "cols": each.ids.shape[2],
                "codebook_size": each.codebook_size,
                "paces": each.paces,
                "file_bytes": each.sizes,
                "gflop_a_decode": each.gflop,
                "decodes_in_run": each.is_decoded,
                "decode_costs": figures["costs"][each.name],
            }
            for each in shown
        },
        "page_bytes": page_bytes(PAGE_FOLDER),
        "quality": figures["quality"],
    }


def page_bytes(folder: Path) -> dict[str, int] | None:
    """Bytes of the code that ``index.html`` leads to as it travels, compressed where it is kept so
    (the calculator beside it is not counted); and of the smallest runtime that its full decoder
    needs, on the CPU. None where the page is not built."""
    if not (folder / "index.html").is_file():
        return None
    assets = [path for path in (folder / "assets").iterdir() if path.suffix != ".gz"]
    page, unread = set[Path](), {folder / "index.html"}
    while unread:  # what it names, and what that names
        page |= unread
        texts = [path.read_text("utf-8") for path in unread]
        unread = {path for path in assets if any(path.name in text for text in texts)} - page

    def sent(path: Path) -> int:
        small = path.with_name(f"{path.name}.gz")
        return (small if small.is_file() else path).stat().st_size

    wasm = sorted((folder / "runtime").rglob("*.wasm"), key=lambda path: path.stat().st_size)
    return {"page": sum(map(sent, page)), "onnxruntime": sum(map(sent, wasm[:1]))}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}
