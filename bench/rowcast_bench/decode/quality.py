"""Quality of a scheme: PSNR and SSIM against full decodes of the same rows, and seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.detokenizer import Detokenizer

from .schemes import Scheme
from .similarity import Picture, gradients, psnr, ssim


@dataclass(frozen=True)
class Quality:
    """Medians over all pictures and updates, unless told otherwise; decibels of 255.

    ``psnr_db``, ``ssim``: against a full decode of the rows so far. ``…_of_final``: against those
    rows of the final picture, before the last update. ``…_of_whole``: of the last update alone.
    ``…_worst``: the least instead of the median.
    ``seam``: the mean gradient across boundaries of rows by that inside of rows (None where that
    is none), and ``seam_beyond_full`` the same by that of the full decodes, for what is in the
    pictures themselves.
    """

    psnr_db: float
    psnr_db_by_update: list[float]  # medians over the pictures
    ssim: float
    psnr_db_of_final: float
    ssim_of_final: float
    psnr_db_of_whole: float
    psnr_db_of_whole_worst: float
    seam: float | None
    seam_beyond_full: float | None


@dataclass
class _Seen:
    """Values of one scheme, [pictures, updates]."""

    near: list[list[float]] = field(default_factory=list)
    near_ssim: list[list[float]] = field(default_factory=list)
    final: list[list[float]] = field(default_factory=list)
    final_ssim: list[list[float]] = field(default_factory=list)
    seams: list[tuple[float, float]] = field(default_factory=list)
    full_seams: list[tuple[float, float]] = field(default_factory=list)

    def begin(self) -> None:
        """A picture."""
        for values in (self.near, self.near_ssim, self.final, self.final_ssim):
            values.append([])

    def add(self, shown: Picture, whole: Picture, final: Picture, side: int) -> None:
        """One update, beside a full decode of its rows and the final picture."""
        self.near[-1].append(psnr(shown, whole))
        self.near_ssim[-1].append(ssim(shown, whole))
        self.final[-1].append(psnr(shown, final[: len(shown)]))
        self.final_ssim[-1].append(ssim(shown, final[: len(shown)]))
        if len(shown) > side:
            self.seams.append(gradients(shown, side))
            self.full_seams.append(gradients(whole, side))

    def quality(self) -> Quality:
        """All that was seen, summed up."""
        near = np.array(self.near)
        # The last full decode is the final picture itself.
        before_last = slice(None, -1) if near.shape[1] > 1 else slice(None)
        seam, of_full = _ratio(self.seams), _ratio(self.full_seams)
        return Quality(
            psnr_db=float(np.median(near)),
            psnr_db_by_update=[round(float(value), 1) for value in np.median(near, axis=0)],
            ssim=float(np.median(self.near_ssim)),
            psnr_db_of_final=float(np.median(np.array(self.final)[:, before_last])),
            ssim_of_final=float(np.median(np.array(self.final_ssim)[:, before_last])),
            psnr_db_of_whole=float(np.median(near[:, -1])),
            psnr_db_of_whole_worst=float(near[:, -1].min()),
            seam=seam,
            seam_beyond_full=seam / of_full if seam and of_full else None,
        )


def qualities(
    schemes: Sequence[Scheme],
    detokenizer: Detokenizer,
    grids: NDArray[np.integer],
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Quality]:
    """Quality of each scheme by name, on ``grids`` [pictures, rows, cols], with the full decoder.

    ``advance`` is called with every picture. Raises DetokenizerError for ids that are not the
    model's.
    """
    seen = {scheme.name: _Seen() for scheme in schemes}
    side = detokenizer.pixels_per_token
    for grid in grids:
        final = detokenizer.decode(grid[None])[0]
        for each in seen.values():
            each.begin()
        for held in range(1, len(grid) + 1):
            due = [scheme for scheme in schemes if held % scheme.every == 0]
            whole = detokenizer.decode(grid[None, :held])[0] if due else final
            for scheme in due:
                shown = scheme.paint(grid[:held])
                seen[scheme.name].add(shown, whole, final, side)
        advance()
    return {name: each.quality() for name, each in seen.items()}


def rounded(value: float | None, digits: int = 3) -> float | None:
    """For tables and JSON."""
    return None if value is None else round(value, digits)


def _ratio(pairs: list[tuple[float, float]]) -> float | None:
    """None where there is no boundary yet, or nothing changes inside of rows."""
    across, inside = np.array(pairs).mean(axis=0) if pairs else (0.0, 0.0)
    return float(across / inside) if inside else None
