"""What was measured, as the figures of one line of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from rowcast.pixels.tiers import WHILE_FORMING

from .quality import Quality, rounded
from .schemes import Scheme
from .times import Times

WHOLE: Final = "whole_grid"  # the scheme whose updates are full decodes of whole pictures


def headline(
    times: Mapping[str, Times],
    flops: Mapping[str, Sequence[int]],
    quality: Mapping[str, Quality],
) -> dict[str, Any]:
    """What the bars are about, as far as schemes tell it."""
    full = times[WHOLE].median
    forming = next(name for name in WHILE_FORMING if name in times and name in quality)
    painted = times[forming]  # by a client, which leaves the last update to the final decode
    return {
        "client_forms_by": forming,
        "client_total_full_decodes": round((painted.picture - painted.last) / full + 1, 2),
        "client_update_full_decodes_max": round(painted.worst / full, 3),
        "client_psnr_db_of_final": round(quality[forming].psnr_db_of_final, 2),
        "full_ms": round(full, 1),
        "forming_psnr_db": round(quality["full"].psnr_db_of_final, 2),
        "forming_update_full_decodes_max": round(max(flops["full"]) / flops[WHOLE][-1], 3),
        "preview_cost_ratio": round(full / times["preview"].last, 1),
        "preview_psnr_db": round(quality["preview"].psnr_db_of_whole, 2),
    }


def by_scheme(
    schemes: Sequence[Scheme],
    sizes: Mapping[tuple[str, str], int],
    times: Mapping[str, Times],
    flops: Mapping[str, Sequence[int]],
    quality: Mapping[str, Quality],
) -> dict[str, dict[str, Any]]:
    """Of each scheme by name, what of it was measured; ``sizes`` [kind, precision] in bytes."""
    found: dict[str, dict[str, Any]] = {}
    for scheme in schemes:
        name = scheme.name
        found[name] = {"label": scheme.label, "kind": scheme.kind}
        if name in times:
            found[name] |= _cost(scheme, times, flops)
            files = {each[1]: size for each, size in sizes.items() if each[0] == scheme.kind}
            found[name]["bytes"] = files
        if name in quality:
            values = asdict(quality[name])
            found[name] |= {
                key: rounded(value) if isinstance(value, float) else value
                for key, value in values.items()
            }
    return found


def _cost(
    scheme: Scheme, times: Mapping[str, Times], flops: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    taken, counts = times[scheme.name], flops[scheme.name]
    full, whole = times[WHOLE].median, flops[WHOLE][-1]
    final = 0 if scheme.is_final else 1
    return {
        "update_ms_median": round(taken.median, 2),
        "update_ms_worst": round(taken.worst, 2),
        "update_gflop_median": round(float(np.median(counts)) / 1e9, 1),
        "update_gflop_worst": round(max(counts) / 1e9, 1),
        "total_full_decodes": round(taken.picture / full + final, 2),
        "total_full_decodes_counted": round(sum(counts) / whole + final, 2),
    }
