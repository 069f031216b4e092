"""The report of a run that draws: what became of it, for people and as one line of JSON."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.console import Console

from ..codes import DoneReason
from ..picture import Picture
from ..sync import SyncClient
from .exit_codes import DONE, FAILED
from .options import DrawOptions
from .picture_files import PictureFiles
from .text import answer_json, complain, say
from .watch import Watch

MOST_SEEDS: Final = 4  # that are told in a line
WHOLE: Final = (DoneReason.COMPLETE, DoneReason.STOP_ROW)
REASONS: Final = {
    DoneReason.CANCELLED: "it was cancelled",
    DoneReason.DEADLINE: "the server's time limit for a picture was over",
    DoneReason.LEFT: "the server takes this client for gone",
}


class Report:
    """What was drawn and saved, and what went wrong; the first of it decides the exit code."""

    def __init__(self, options: DrawOptions, files: PictureFiles, bytes_before: int) -> None:
        self.options = options
        self.files = files
        self.joined: list[str] = []
        self.links: list[str] = []  # by which others can watch
        self._watches: list[Watch] = []
        self._bytes_before = bytes_before
        self._bytes = 0
        self._seconds = 0.0
        self._painted_by: str | None = None
        self._code = DONE
        self._problems: dict[str, None] = {}  # each once

    def fail(self, code: int, problem: str, watch: Watch, index: int | None = None) -> None:
        """Note what went wrong with what was watched, or with one picture of it."""
        self._code = self._code or code
        self._problems.setdefault(watch.title + problem)
        watch.failed.setdefault(index, problem)

    def add(self, watch: Watch) -> None:
        """Add pictures, and the time, as soon as they were watched as far as they came."""
        self._watches.append(watch)
        self._seconds += time.perf_counter() - watch.started

    def check_ends(self, watch: Watch) -> None:
        """Fail where a picture ended before all that was asked for."""
        for index, picture in sorted(watch.pictures.items()):
            if picture.reason not in WHOLE:
                number = 0 if picture.reason is None else int(picture.reason)
                why = REASONS.get(number, f"reason {number}")  # type: ignore[call-overload]
                held = f"{picture.rows_held} of {picture.recipe.rows} rows"
                self.fail(FAILED, f"picture {index} ended after {held}: {why}", watch, index)

    def end(self, client: SyncClient) -> None:
        """Note what the client tells of the run."""
        self._bytes = client.bytes_received - self._bytes_before
        self._painted_by = client.tiers[-1] if client.tiers else None

    def tell(self, console: Console) -> int:
        """Tell people, and programs if they asked. Returns the exit code."""
        if self._pictures:
            say(console, self._sums())
        for kinds, stems in groupby(self.files.pictures, self._kinds):
            if kinds:
                first, *others = stems
                range_of = f"{first} … {others[-1].name}" if others else str(first)
                say(console, f"saved {range_of} ({kinds})")
        if self.joined:
            say(console, f"saved {' and '.join(self.joined)}: the pictures joined")
        stopped = [
            f"{stem}.rows"
            for stem, picture in self.files.pictures.items()
            if picture.reason == DoneReason.STOP_ROW and f"{stem}.rows" in self.files.files[stem]
        ]
        if stopped:
            again = self.options.next_command(f"--from {shlex.join(stopped)}")
            say(console, f"stopped early; go on with: {again}")
        if cut := max((picture.text_cut for picture in self._pictures), default=0):
            say(console, f"the prompt is too long: its last {cut} tokens were not used")
        if lost := max((picture.text_lost for picture in self._pictures), default=0):
            characters = "a character" if lost == 1 else f"{lost} characters"
            say(console, f"the model cannot read {characters} of the prompt: not used")
        for problem in self._problems:
            complain(f"rowcast: {problem}")
        if self._problems:
            if self.files.files:
                complain("rowcast: the rows that had arrived are saved")
            elif not any(picture.rows_held for picture in self._pictures):
                complain("rowcast: nothing was saved: no row had arrived")
        if self.options.json:
            answer_json(self._for_programs())
        return self._code

    @property
    def _pictures(self) -> list[Picture]:
        return [picture for watch in self._watches for _, picture in sorted(watch.pictures.items())]

    def _kinds(self, stem: Path) -> str:
        """The suffixes of a picture's files that are there, the tokens first."""
        kinds = [Path(file).suffix for file in self.files.files.get(stem, [])]
        return ", ".join(kinds[-1:] + kinds[:-1] if ".rows" in kinds else kinds)

    def _sums(self) -> str:
        report = self._for_programs()
        seeds = list(dict.fromkeys(picture.recipe.seed for picture in self._pictures))
        more = " …" if len(seeds) > MOST_SEEDS else ""
        told = [f"seed {', '.join(map(str, seeds[:MOST_SEEDS]))}{more}"]
        told += [f"{report['bytes_received']} bytes received"]
        if report["first_row_s"] is not None:
            told.append(f"first row after {report['first_row_s']} s")
        if report["row_s"] is not None:
            told.append(f"{report['row_s']} s a row")
        return " · ".join([*told, f"{report['total_s']} s in all"])

    def _for_programs(self) -> dict[str, object]:
        """The report as JSON has it. Seed and times are of the first that has them."""
        files = [file for each in self.files.files.values() for file in each]
        joined = set(self.joined)
        report: dict[str, object] = {
            "seed": next((picture.recipe.seed for picture in self._pictures), None),
            "images": len(self._pictures),
            "bytes_received": self._bytes,
            "first_row_s": next((w.first_row_s for w in self._watches if w.first_row_s), None),
            "row_s": next((w.row_s for w in self._watches if w.row_s), None),
            "total_s": self._seconds,
            "painted_by": self._painted_by,
            "files": [file for file in files if file not in joined] + self.joined,
            "pictures": [each for watch in self._watches for each in self._each(watch)],
        }
        report |= {name: round(each, 4) for name, each in report.items() if isinstance(each, float)}
        report |= {"links": self.links} if self.options.share else {}
        return report | ({"error": next(iter(self._problems))} if self._problems else {})

    def _each(self, watch: Watch) -> Iterator[dict[str, object]]:
        """What became of each picture of a prompt; of one that never began, why."""
        indexes = {*watch.pictures, *(index for index in watch.failed if index is not None)}
        for index in (*sorted(indexes),) or (None,):
            told: dict[str, object] = {"number": watch.number, "prompt": watch.prompt}
            picture = None if index is None else watch.pictures.get(index)
            if picture is not None:
                told |= {
                    "prompt": picture.recipe.prompt,
                    "seed": picture.recipe.seed,
                    "image": picture.recipe.image,
                    "rows": picture.rows_held,
                    "of_rows": picture.recipe.rows,
                    "text_lost": picture.text_lost,
                    "text_cut": picture.text_cut,
                }
            why = watch.failed.get(index)
            if picture is None or picture.reason is None:
                why = why or watch.failed.get(None)
            files = [] if picture is None else self.files.of(picture)
            yield told | {"files": files} | ({"error": why} if why else {})
