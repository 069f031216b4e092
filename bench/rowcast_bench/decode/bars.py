"""Bars for the tiers of pixels: what was wanted of each, and which of them are missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Bar:
    """One bound. ``name`` is that of a figure; ``most`` or ``least`` is what it may be."""

    name: str
    meaning: str
    most: float | None = None
    least: float | None = None

    def is_kept_by(self, value: float) -> bool:
        """True if ``value`` is within the bound, which itself is allowed."""
        return (self.most is None or value <= self.most) and (
            self.least is None or value >= self.least
        )

    def __str__(self) -> str:
        if self.least is True:
            return "yes"
        return f"≤ {self.most:,g}" if self.most is not None else f"≥ {self.least:,g}"


BARS: Final = (
    Bar("forming_psnr_db", "full with guessed rows against the final picture's, dB", least=28),
    Bar("forming_update_full_decodes_max", "its dearest update, counted in full decodes", most=1),
    Bar("palette_ms", "from a row's bytes to the canvas, ms (p99)", most=1),
    Bar("palette_bytes", "palette of 16,384 codes, bytes", most=800_000),
    Bar("preview_cost_ratio", "full decode by preview, time", least=20),
    Bar("preview_psnr_db", "preview against full, whole pictures, dB", least=26),
    Bar("final_equal", "the client's last image is the full decode", least=True),
)


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Names of the bars that the figures do not reach."""
    return [bar.name for bar in BARS if not bar.is_kept_by(figures[bar.name])]
