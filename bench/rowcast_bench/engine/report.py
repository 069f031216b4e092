"""The report of `rowcast bench engine`: each side's speed and memory, then what else was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..markdown import Columns, cells, table

# The sides by their names in the figures; "ours" is what a server does unless told otherwise.
SIDES: Final = {
    "min_dalle": "min-dalle",
    "ours": "ours, float32",
    "states": "`--cache states`",
    "int8": "`--dtype int8`",
}
JOBS: Final = (8, 16)
LINES: Final[Columns] = (
    ("ms a step of one picture", "ms_per_step", ""),
    ("times as fast", "ratio", ""),
    ("of what memory can be read at", "memory_share", ".0%"),
    ("4 pictures together, times as fast", "ratio_of_4", ""),
    *(
        (f"tokens a second of {jobs} jobs, over its one", f"ratio_of_{jobs}_jobs", "")
        for jobs in JOBS
    ),
    *(
        (f"a step of {count}, of what this machine can do", f"roofline_share_of_{count}", ".0%")
        for count in (1, *JOBS)
    ),
    ("pictures a minute, one by one", "pictures_per_minute", ""),
    ("pictures a minute, 16 jobs", "pictures_per_minute_of_16_jobs", ""),
    ("MB of a picture's cache", "cache_mb", ""),
    ("GB of memory at most, of ours with 16 slots", "peak_gb", ""),
)
REPORT: Final = """\
A model of {size}'s size with random weights, {threads} threads; min-dalle 0.4.11 from PyPI and ours
in turn, in one run:

{table}

A picture's text takes {text_mb} MB more of ours, its keys and values, which min-dalle computes
anew in each step. These cores can read {memory_ceiling_gb_s} GB/s and multiply at
{compute_ceiling_gflops:,.0f} GFLOP/s: a step takes no less than the longer of reading weights and
caches, and of its products (the roofline). Greedy tokens of both {greedy}; int8 keeps
{int8_same_greedy:.1%} of postcard's {int8_tokens_compared}, KL {int8_mean_kl} nats."""
STREAMED: Final = """
From the sampling of a row's last token to its bytes written, 16 jobs, {row_emit_rows} rows:
{row_emit_p50_ms} ms (median), {row_emit_p99_ms} ms (p99); with viewers the jobs take
{streaming_ratio} times as long as without."""


def report(figures: Mapping[str, Any]) -> str:
    """All of it in Markdown."""
    columns = [cells(LINES, side) for side in figures["sides"].values()]
    lines = zip((title for title, _, _ in LINES), *columns, strict=True)
    sides = table(["", *(SIDES[name] for name in figures["sides"])], lines)
    greedy = "are identical" if figures["greedy_tokens_identical"] else "DIFFER"
    text = REPORT + (STREAMED if "row_emit_rows" in figures else "")
    return text.format(table=sides, greedy=greedy, **figures)
