"""What was wanted of the tiers of pixels, and whether it was reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Bar:
    """``name`` is that of a figure; ``most`` or ``least`` is what it may be."""

    name: str
    meaning: str
    most: float | None = None
    least: float | None = None

    def is_kept_by(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (
            self.least is None or value >= self.least
        )

    def __str__(self) -> str:
        if self.least is True:
            return "yes"
        return f"≤ {self.most:,g}" if self.most is not None else f"≥ {self.least:,g}"


COST: Final = (
    Bar("total_full_decodes", "16 updates and the final decode, in full decodes", most=3.7),
    Bar("update_full_decodes_max", "the worst update, in full decodes", most=0.22),
)
QUALITY: Final = (
    Bar("incremental_psnr_db", "incremental against full decodes of the rows so far", least=35),
    # What stands in the pictures themselves is no seam: postcard's have edges where tokens meet,
    # and full decodes of them a ratio of 1.46.
    Bar("seam_ratio", "gradient across boundaries of rows by inside, by full's", most=1.1),
)
OTHERS: Final = (
    Bar("palette_ms", "from a row's bytes to the canvas, ms (p99)", most=1),
    Bar("palette_bytes", "palette of 16,384 codes, bytes", most=800_000),
    Bar("preview_cost_ratio", "full decode by preview, time", least=20),
    Bar("preview_psnr_db", "preview against full, whole pictures, dB", least=26),
    Bar("final_equal", "the client's last image is the full decode", least=True),
)
BARS: Final = (*COST, *QUALITY, *OTHERS)


def bars_kept(figures: Mapping[str, Any], bars: Sequence[Bar]) -> bool:
    """Whether all of these are reached; a figure that is None reaches none."""
    return not missed(figures, bars) and all(figures[bar.name] is not None for bar in bars)


def missed(figures: Mapping[str, Any], bars: Sequence[Bar] = BARS) -> list[str]:
    """Names of the bars that were measured and not reached."""
    return [
        bar.name
        for bar in bars
        if figures[bar.name] is not None and not bar.is_kept_by(figures[bar.name])
    ]
