"""What ``rowcast export`` shows: how far it is, and in the end what was written and measured."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .agreements import Agreement, Imitation, PreviewAgreement
from .manifest import Exported
from .progress import Progress as Report

SECONDS_TO_FIRST_LINE: Final = 2.0
SECONDS_BETWEEN_LINES: Final = 60.0


@contextlib.contextmanager
def progress_bar() -> Iterator[Report]:
    """Progress bar on stderr if that is a terminal; it is gone when the work is done.

    Elsewhere a line after two seconds, then one a minute: nobody waits without a word, and a log
    of a long training shows how it goes.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=None)

        due = time.monotonic() + SECONDS_TO_FIRST_LINE

        def show(what: str, done: int, total: int) -> None:
            nonlocal due
            bar.update(task, description=what, completed=done, total=total or None)
            if not console.is_terminal and time.monotonic() >= due:
                due = time.monotonic() + SECONDS_BETWEEN_LINES
                steps = f": {done} of {total}" if total else ""
                print(f"{what}{steps}", file=sys.stderr, flush=True)

        yield show


def report(exported: Sequence[Exported], assumptions: str) -> None:
    """Print what was assumed, what was written and what was measured."""
    if assumptions:
        print(f"assumed: {assumptions}")
    for file in exported:
        print(f"wrote {file.path} ({file.bytes:,} bytes)")
        print(f"  sha256 {file.sha256}")
        agreement = file.agreement
        if isinstance(agreement, Agreement):
            print(
                f"  agrees with torch on {agreement.grids} grids: values within "
                f"{agreement.value_difference:.1e}, {agreement.bytes_equal_share:.3%} of the bytes "
                f"equal, none more than {agreement.byte_difference} apart, "
                f"PSNR {agreement.psnr:.1f} dB"
            )
        seen = agreement.imitation if isinstance(agreement, PreviewAgreement) else agreement
        if isinstance(seen, Imitation):
            print(
                f"  is {seen.psnr_db_median:.1f} dB from the full decoder (median of {seen.grids} "
                f"grids held out; mean {seen.psnr_db_mean:.1f}, of all pixels together "
                f"{seen.psnr_db_of_mean_square:.1f})"
            )
    print(f"wrote {exported[0].path.with_name('manifest.json')}")
