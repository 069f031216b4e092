"""The tables of `rowcast bench decode`, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from .bars import BARS, missed


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Conditions, costs, qualities, downloads, then the bars."""
    console.print(
        f"torch {figures['torch']}, min-dalle {figures['min_dalle'] or 'left out'}; "
        f"{figures['threads']} threads each, in turn; medians of {figures['rounds']} rounds",
        highlight=False,
    )
    console.print(_costs(figures))
    console.print(_qualities(figures))
    sizes = {
        scheme["kind"]: scheme["bytes"]
        for scheme in figures["schemes"].values()
        if "bytes" in scheme
    }
    told = (
        f"{kind} " + ", ".join(f"{size / 1e6:.3g} ({name})" for name, size in files.items())
        for kind, files in sizes.items()
    )
    console.print(f"to download, MB: {'; '.join(told)}", highlight=False)
    equal = "the full decode, in every value" if figures["final_equal"] else "ANOTHER"
    console.print(
        f"from a row's bytes to the canvas, by the palette: {figures['palette_ms_p50']} ms "
        f"(median), {figures['palette_ms']} ms (p99). The last image of a client that painted with "
        f"{', '.join(figures['client_tiers'])} is {equal} ({figures['final_pictures']} pictures). "
        f"While a picture forms it shows the {figures['client_forms_by']}'s: with the final "
        f"decode {figures['client_total_full_decodes']} full decodes a picture, an update at most "
        f"{figures['client_update_full_decodes_max']} of one, and "
        f"{figures['client_psnr_db_of_final']} dB from the same rows of the final picture.",
        highlight=False,
    )
    console.print(_bars(figures))


def _told(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}"


def _costs(figures: Mapping[str, Any]) -> Table:
    table = Table(
        Column("at real size", no_wrap=True),
        "ms, median",
        "worst",
        "GFLOP, median",
        "worst",
        "of the cores",
        "total, timed",
        "counted",
        title=f"random weights; a full decode: {figures['full_ms']} ms, "
        f"{figures['full_gflop']} GFLOP, {figures['full_compute_share']:.0%} of what the cores can "
        "multiply; totals in full decodes",
        box=SIMPLE_HEAD,
    )
    names = (
        "update_ms_median",
        "update_ms_worst",
        "update_gflop_median",
        "update_gflop_worst",
        "compute_share",
        "total_full_decodes",
        "total_full_decodes_counted",
    )
    for scheme in figures["schemes"].values():
        if names[0] in scheme:
            table.add_row(scheme["label"], *(f"{scheme[name]:,.4g}" for name in names))
    return table


def _qualities(figures: Mapping[str, Any]) -> Table:
    table = Table(
        Column("on postcard", no_wrap=True),
        "dB, rows so far",
        "SSIM",
        "dB, final picture",
        "SSIM",
        "seam",
        "by full's",
        title=f"{figures['pictures']} held-out pictures, medians over all updates; "
        "120 dB: the same",
        box=SIMPLE_HEAD,
    )
    names = ("psnr_db", "ssim", "psnr_db_of_final", "ssim_of_final", "seam", "seam_beyond_full")
    for scheme in figures["schemes"].values():
        if "psnr_db" in scheme:
            values = (scheme[name] for name in names)
            table.add_row(
                scheme["label"], *("" if value is None else f"{value:g}" for value in values)
            )
    return table


def _bars(figures: Mapping[str, Any]) -> Table:
    table = Table("wanted", "", "found", "", box=SIMPLE_HEAD)
    wrong = missed(figures)
    for bar in BARS:
        value = figures[bar.name]
        state = "missed" if bar.name in wrong else "kept"
        table.add_row(bar.meaning, str(bar), _told(value), state)
    return table
