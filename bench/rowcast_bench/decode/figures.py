"""Figures of `rowcast bench decode`: the content of its one line of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from rowcast.pixels.tiers import WHILE_FORMING

from .quality import Quality, rounded
from .schemes import Scheme
from .times import Times

WHOLE: Final = "whole_grid"  # the scheme whose updates are full decodes of whole pictures


@dataclass(frozen=True)
class Costs:
    """Times and operations of the updates of a picture, by scheme.

    ``gigaflops`` is what the machine can multiply, in 10^9 operations a second.
    """

    times: Mapping[str, Times]
    flops: Mapping[str, Sequence[int]]
    gigaflops: float

    @property
    def full_ms(self) -> float:
        """A full decode of a whole picture."""
        return self.times[WHOLE].median

    @property
    def full_flops(self) -> int:
        """Operations of the same."""
        return self.flops[WHOLE][-1]

    def share(self, scheme: str) -> float:
        """Operations of a scheme's median update by those that the machine could do meanwhile."""
        median = float(np.median(self.flops[scheme]))
        return median / (1e6 * self.times[scheme].median * self.gigaflops)


def headline(costs: Costs, quality: Mapping[str, Quality]) -> dict[str, Any]:
    """Figures that the bars are about, as far as schemes tell them."""
    full, times = costs.full_ms, costs.times
    forming = next(name for name in WHILE_FORMING if name in times and name in quality)
    painted = times[forming]  # by a client, which leaves the last update to the final decode
    dearest = max(costs.flops["full"]) / costs.full_flops
    return {
        "client_forms_by": forming,
        "client_total_full_decodes": round((painted.picture - painted.last) / full + 1, 2),
        "client_update_full_decodes_max": round(painted.worst / full, 3),
        "client_psnr_db_of_final": round(quality[forming].psnr_db_of_final, 2),
        "full_ms": round(full, 1),
        "full_gflop": round(costs.full_flops / 1e9, 1),
        "compute_ceiling_gflops": round(costs.gigaflops, 1),
        "full_compute_share": round(costs.share(WHOLE), 3),
        "forming_psnr_db": round(quality["full"].psnr_db_of_final, 2),
        "forming_update_full_decodes_max": round(dearest, 3),
        "preview_cost_ratio": round(full / times["preview"].last, 1),
        "preview_compute_share": round(costs.share("preview"), 3),
        "preview_psnr_db": round(quality["preview"].psnr_db_of_whole, 2),
    }


def by_scheme(
    schemes: Sequence[Scheme],
    sizes: Mapping[tuple[str, str], int],
    costs: Costs,
    quality: Mapping[str, Quality],
) -> dict[str, dict[str, Any]]:
    """All that was measured of each scheme, by name; ``sizes`` [kind, precision] in bytes."""
    found: dict[str, dict[str, Any]] = {}
    for scheme in schemes:
        name = scheme.name
        found[name] = {"label": scheme.label, "kind": scheme.kind}
        if name in costs.times:
            found[name] |= _cost(scheme, costs)
            files = {each[1]: size for each, size in sizes.items() if each[0] == scheme.kind}
            found[name]["bytes"] = files
        if name in quality:
            values = asdict(quality[name])
            found[name] |= {
                key: rounded(value) if isinstance(value, float) else value
                for key, value in values.items()
            }
    return found


def _cost(scheme: Scheme, costs: Costs) -> dict[str, float]:
    taken, counts = costs.times[scheme.name], costs.flops[scheme.name]
    final = 0 if scheme.is_final else 1
    return {
        "update_ms_median": round(taken.median, 2),
        "update_ms_worst": round(taken.worst, 2),
        "update_gflop_median": round(float(np.median(counts)) / 1e9, 1),
        "update_gflop_worst": round(max(counts) / 1e9, 1),
        "compute_share": round(costs.share(scheme.name), 3),
        "total_full_decodes": round(taken.picture / costs.full_ms + final, 2),
        "total_full_decodes_counted": round(sum(counts) / costs.full_flops + final, 2),
    }
