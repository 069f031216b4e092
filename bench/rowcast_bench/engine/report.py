"""The table of `rowcast bench engine`, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

# Of the sides, by their names in the figures; "ours" is what a server does unless told otherwise.
TITLES: Final = {
    "min_dalle": "min-dalle",
    "ours": "ours",
    "states": "caching states",
    "int8": "int8",
}
PREFIXES: Final = {"ours": "", "states": "states_", "int8": "int8_"}
JOBS: Final = (8, 16)


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Speed and memory of each side, what of the machine they take, then what else was found."""
    console.print(_sides(figures))
    console.print(
        f"a picture's cache is {figures['cache_ratio']:.2f} of min-dalle's; its text takes "
        f"{figures['text_mb']} MB more, which min-dalle computes anew in each step; "
        f"weights are read at {figures['memory_read_gb_s']} GB/s, "
        f"{figures['memory_ceiling_share']:.0%} of the {figures['memory_ceiling_gb_s']} GB/s that "
        f"{figures['threads']} threads can read here; they can multiply matrices at "
        f"{figures['compute_ceiling_gflops']:,.0f} GFLOP/s; greedy tokens of both sides "
        f"{'are identical' if figures['greedy_tokens_identical'] else 'DIFFER'}; int8 keeps "
        f"{figures['int8_same_greedy']:.1%} of postcard's {figures['int8_tokens_compared']} "
        f"teacher-forced greedy tokens, KL {figures['int8_mean_kl']} nats",
        highlight=False,
    )
    if "row_emit_rows" in figures:
        console.print(
            f"{figures['row_emit_rows']} rows of 16 jobs: from sampling to bytes written "
            f"{figures['row_emit_p50_ms']} ms (median), {figures['row_emit_p99_ms']} ms (p99); "
            f"with viewers the jobs take {figures['streaming_ratio']} times as long as without",
            highlight=False,
        )


def _sides(figures: Mapping[str, Any]) -> Table:
    table = Table(f"{figures['size']}, {figures['threads']} threads", *TITLES.values())

    def row(title: str, names: dict[str, str]) -> None:
        """The figures of these names, by their sides."""
        values = (figures[names[side]] if side in names else "" for side in TITLES)
        table.add_row(title, *map(str, values))

    def shares(what: str) -> dict[str, str]:
        return {"min_dalle": f"min_dalle_{what}"} | {
            side: f"{prefix}{what}" for side, prefix in PREFIXES.items()
        }

    row("a step of one picture, ms", {side: f"{side}_ms_per_step" for side in TITLES})
    ratios = {side: f"{side}_ratio" for side in ("states", "int8")}
    row("times as fast", {"ours": "single_ratio", **ratios})
    row("share of what memory can be read at", shares("memory_ceiling_share"))
    row("4 pictures together, times as fast", {"ours": "four_ratio"})
    for jobs in JOBS:
        row(
            f"tokens a second of {jobs} jobs, over min-dalle's one",
            {side: f"{prefix}batch{jobs}_ratio" for side, prefix in PREFIXES.items()},
        )
        exact = {side: PREFIXES[side] for side in ("ours", "states")}  # in float32
        row(
            "share of what the cores can multiply",
            {side: f"{prefix}batch{jobs}_compute_share" for side, prefix in exact.items()},
        )
    row("cache of a picture's tokens, MB", {side: f"{side}_cache_mb" for side in TITLES})
    row("most memory, GB", {side: f"{side}_peak_gb" for side in TITLES})
    return table
