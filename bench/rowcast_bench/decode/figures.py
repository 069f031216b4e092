"""Figures of `rowcast bench decode`, the content of its one line of JSON, and their report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from rowcast.pixels.tiers import WHILE_FORMING

from ..markdown import Columns, cells, table
from .quality import Quality
from .schemes import Scheme
from .times import Times

WHOLE: Final = "whole_grid"  # the scheme whose updates are full decodes of whole pictures
COLUMNS: Final[Columns] = (
    ("", "label", ""),
    ("ms an update", "update_ms_median", ",.2f"),
    ("the worst", "update_ms_worst", ",.2f"),
    ("GFLOP, the worst", "update_gflop_worst", ",.1f"),
    ("of what the cores can multiply", "compute_share", ".0%"),
    ("a picture, in full decodes", "total_full_decodes", ".2f"),
    ("dB, rows so far (120: exact)", "psnr_db", ".1f"),
    ("SSIM", "ssim", ".3f"),
    ("dB, final picture", "psnr_db_of_final", ".1f"),
    ("MB: fp32, fp16, int8", "megabytes", ""),
)
REPORT: Final = """\
{threads} threads, medians of {rounds} rounds in turn. Costs of {decoder} with random weights, where
a full decode takes {full_ms:,.0f} ms and {full_gflop:.0f} GFLOP, {full_compute_share:.0%} of what
these cores can multiply; quality on postcard, {pictures} held-out pictures; min-dalle {min_dalle}:

{table}

A client shows the {client_forms_by}'s pixels while a picture forms. All updates and the exact last
picture cost {client_total_full_decodes:.2f} full decodes: {dearer:.0f} times less than decoding
the whole grid after each row{peer}; an update at most {client_update_full_decodes_max:.3f} of one.
The last image of a client {last}."""


@dataclass(frozen=True)
class Costs:
    """Times and operations of the updates of a picture, by scheme.

    ``gigaflops`` is what the machine can multiply, in 10^9 operations a second.
    """

    times: Mapping[str, Times]
    flops: Mapping[str, Sequence[int]]
    gigaflops: float

    def of(self, scheme: Scheme) -> dict[str, float]:
        """All costs of a scheme; ``compute_share``: operations of its median update by those that
        the machine could do meanwhile."""
        taken, counts = self.times[scheme.name], self.flops[scheme.name]
        median = float(np.median(counts))
        final = 0 if scheme.is_final else 1
        return {
            "update_ms_median": round(taken.median, 2),
            "update_ms_worst": round(taken.worst, 2),
            "update_gflop_worst": round(max(counts) / 1e9, 1),
            "compute_share": round(median / (1e6 * taken.median * self.gigaflops), 3),
            "total_full_decodes": round(taken.picture / self.times[WHOLE].median + final, 2),
            "total_full_decodes_counted": round(sum(counts) / self.flops[WHOLE][-1] + final, 2),
        }


def figures_of(
    schemes: Sequence[Scheme],
    sizes: Mapping[tuple[str, str], int],
    costs: Costs,
    quality: Mapping[str, Quality],
) -> dict[str, Any]:
    """All that was measured of each scheme, by name, and of a full decode and of a client.

    ``sizes`` [kind, precision] is in bytes.
    """
    found: dict[str, dict[str, Any]] = {}
    for scheme in schemes:
        files = {each[1]: size for each, size in sizes.items() if each[0] == scheme.kind}
        values = asdict(quality[scheme.name]) if scheme.name in quality else {}
        found[scheme.name] = {
            "label": scheme.label,
            "kind": scheme.kind,
            "bytes": files,
            **costs.of(scheme),
            **{name: np.round(value, 3).tolist() for name, value in values.items()},
        }
    full = costs.times[WHOLE].median
    forming = next(name for name in WHILE_FORMING if name in found)
    painted = costs.times[forming]  # by a client, which leaves the last update to the final decode
    return {
        "full_ms": round(full, 1),
        "full_gflop": found[WHOLE]["update_gflop_worst"],
        "full_compute_share": found[WHOLE]["compute_share"],
        "client_forms_by": forming,
        "client_total_full_decodes": round((painted.picture - painted.last) / full + 1, 2),
        "client_update_full_decodes_max": round(painted.worst / full, 3),
        "schemes": found,
    }


def report(figures: Mapping[str, Any]) -> str:
    """The figures in Markdown."""
    schemes = figures["schemes"]
    sizes = [
        ", ".join(f"{size / 1e6:.3g}" for size in scheme["bytes"].values())
        for scheme in schemes.values()
    ]
    lines = [
        cells(COLUMNS, {**scheme, "megabytes": size})
        for scheme, size in zip(schemes.values(), sizes, strict=True)
    ]
    times = {
        name: scheme["total_full_decodes"] / figures["client_total_full_decodes"]
        for name, scheme in schemes.items()
    }
    peer = "min_dalle" in times
    return REPORT.format(
        table=table([title for title, _, _ in COLUMNS], lines),
        dearer=times[WHOLE],
        peer=f", {times['min_dalle']:.0f} than min-dalle's eight pictures" if peer else "",
        last="is the full decode in every value" if figures["final_equal"] else "IS ANOTHER",
        **figures,
    )
