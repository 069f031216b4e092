"""A decoder that brings a picture up to date: new rows of tokens in, the lines that changed out.

The *trunk* (up to the blocks of the lowest level, all attention with it) runs over all rows so far:
its norms and its attention are those of a full decode. The *band*, the levels above it, runs over a
window of lines only: the new rows and the few rows before them, which change because rows have come
below them. Each convolution of the band is given the line above the window as it was left by the
update before (a cache), so that no line is computed for its neighbours' sake alone.

What the band's norms need, mean and variance over all rows so far, is that of the window's lines,
as they are, and for the rows above it that of a *coarse* band: the same layers at one pixel a
token. A 3x3 convolution on what is constant within a token is, averaged over the token, a 3x3
convolution of tokens whose kernel follows from its own (`coarse_kernel`); it costs about 3 % of a
full decode. What is finer than a token is missing there and made up for in one of two ways:

- *carried*: what a row differed from its coarse self when it left the window is summed up and
  handed from update to update, as a control variate. Better, where a row that leaves the window
  has enough rows below it to look as it will in the end;
- *calibrated*: gains and offsets for the coarse moments, fitted once (`incremental_calibration`).
  Better, where it has not.

The coarse band's last layer is a picture of one pixel a token. What changes in it from one update
to the next is added, interpolated, to the rows above the window: their colours follow the norms
without being decoded again. While the window covers all rows, nothing is approximated at all.

Lines are counted in half rows of tokens, so that half a row can be redone. This module must not
know about files, nor how the caller keeps the state between updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rowcast_export.vqgan import Level, ResidualBlock, Upsample, VQGANDecoder

REDONE_HALF_ROWS: Final = 5  # of the rows before the new ones; DECISIONS.md has the curve


@dataclass(frozen=True)
class CacheShape:
    """A cached line: [batch, channels, 1, pixels_per_token * cols]."""

    channels: int
    pixels_per_token: int  # of the level that it belongs to


@dataclass(frozen=True)
class Window:
    """Which half rows an update decodes, and which of them the next one will not."""

    first: int
    last: int  # exclusive: twice the rows so far
    leaving: int

    @classmethod
    def of(cls, held: int, rows: int, redone_half_rows: int) -> Window:
        """The update from `held` rows to `rows`."""
        first = max(0, 2 * held - redone_half_rows)
        return cls(first, 2 * rows, max(0, 2 * rows - redone_half_rows) - first)

    def inputs(self) -> dict[str, npt.NDArray[np.int64]]:
        """The graph's inputs `window` [lines] and `leaving` [1]."""
        lines = np.arange(self.first, self.last, dtype=np.int64)
        return {"window": lines, "leaving": np.array([self.leaving], np.int64)}


@dataclass(frozen=True)
class Calibration:
    """Moments of the fine band from those of the coarse one: fine = gain * coarse + offset.

    Both are [2, groups]: of values and of squares, for all norms of the band, in order.
    """

    gain: Tensor
    offset: Tensor


class NotIncremental(ValueError):
    """The decoder has no band that could run without the rest; the message says why."""


class IncrementalModule(nn.Module):
    """The decoder of one update. It shares its weights with `decoder`.

    With a `calibration` the moments of rows above the window come from it, else they are carried.
    Raises NotIncremental for a decoder that does not start with a level that is upsampled, or that
    has attention above it.
    """

    def __init__(self, decoder: VQGANDecoder, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.calibration = calibration
        levels = decoder.shape.levels
        if not levels[-1].upsample:
            raise NotIncremental("the lowest level has no upsampling: there is no band above it")
        for index, level in enumerate(levels[:-1]):
            if level.attention:
                raise NotIncremental(f"decoder.up.{index} has attention, which needs all rows")
        walk = _Outline()
        self._band(walk)
        self.caches = tuple(walk.caches)
        self.carried_groups = walk.groups

    def empty_state(self, batch: int, cols: int) -> list[Tensor]:
        """`carried` and the caches before the first row: zeros."""
        lines = [torch.zeros(batch, c.channels, 1, c.pixels_per_token * cols) for c in self.caches]
        return [torch.zeros(batch, 2, self.carried_groups), *lines]

    def forward(
        self, ids: Tensor, window: Tensor, leaving: Tensor, carried: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        """Pixels of the window, the coarse picture, and the state for the next update.

        `ids` int64 [batch, rows, cols]: all rows so far. `window` int64 [lines]: the numbers of the
        half rows to decode, up to the last one. `leaving` int64 [1]: how many of them, from the
        top, the next update will not decode again.

        Returns pixels [batch, 3, lines * p / 2, cols * p] and coarse [batch, 3, rows, cols], black
        0 and white 1 but neither clipped, then `carried` and the caches anew.
        """
        walk = _Update(self._trunk(ids), window, leaving, carried, caches, self.calibration)
        self._band(walk)
        black, white = self.decoder.value_range
        pixels, coarse = ((part - black) / (white - black) for part in (walk.fine, walk.coarse))
        return pixels, coarse, torch.cat(walk.new_carried, dim=2), *walk.new_caches

    def moments(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Of the fine and of the coarse band, each [2, batch, groups], where all is decoded.

        `ids` int64 [batch, rows, cols].
        """
        batch, rows, cols = ids.shape
        carried, *caches = self.empty_state(batch, cols)
        window, leaving = torch.arange(2 * rows), torch.tensor([0])
        walk = _Update(self._trunk(ids), window, leaving, carried, tuple(caches), None)
        self._band(walk)
        fine, coarse = (torch.cat(parts, dim=2) for parts in (walk.seen_fine, walk.seen_coarse))
        return fine.transpose(0, 1), coarse.transpose(0, 1)

    def _trunk(self, ids: Tensor) -> Tensor:
        """[batch, rows, cols] -> [batch, channels, rows, cols]."""
        decoder = self.decoder.decoder
        vectors = self.decoder.embedding(ids).permute(0, 3, 1, 2)
        hidden: Tensor = decoder.stem(self.decoder.post_quant_conv(vectors))
        lowest = self._levels()[0]
        for index, block in enumerate(lowest.block):
            hidden = block(hidden)
            if len(lowest.attn) > 0:
                hidden = lowest.attn[index](hidden)
        return hidden

    def _levels(self) -> list[Level]:
        """From the lowest resolution to the highest."""
        return [level for level in reversed(self.decoder.decoder.up) if isinstance(level, Level)]

    def _band(self, walk: _Walk) -> None:
        """The layers above the trunk, in order."""
        for index, level in enumerate(self._levels()):
            for block in level.block if index > 0 else ():
                assert isinstance(block, ResidualBlock)
                self._block(walk, block)
            if isinstance(level.upsample, Upsample):
                walk.upsample(level.upsample.conv)
        walk.norm_silu(self.decoder.decoder.norm_out)
        walk.convolve(self.decoder.decoder.conv_out)

    def _block(self, walk: _Walk, block: ResidualBlock) -> None:
        walk.enter(block.nin_shortcut)
        walk.norm_silu(block.norm1)
        walk.convolve(block.conv1)
        walk.norm_silu(block.norm2)
        walk.convolve(block.conv2)
        walk.leave()


class _Walk:
    """What is done at each layer of the band. `scale` is the pixels per token so far."""

    def __init__(self) -> None:
        self.scale = 1

    def upsample(self, conv: nn.Conv2d) -> None:
        self.scale *= 2
        self.convolve(conv)

    def convolve(self, conv: nn.Conv2d) -> None:
        raise NotImplementedError

    def norm_silu(self, norm: nn.GroupNorm) -> None:
        raise NotImplementedError

    def enter(self, shortcut: nn.Module) -> None:
        """A residual block begins."""

    def leave(self) -> None:
        """It ends: add what it began with."""


class _Outline(_Walk):
    """Notes the state's shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.caches: list[CacheShape] = []
        self.groups = 0

    def convolve(self, conv: nn.Conv2d) -> None:
        self.caches.append(CacheShape(conv.in_channels, self.scale))

    def norm_silu(self, norm: nn.GroupNorm) -> None:
        self.groups += norm.num_groups


class _Update(_Walk):
    """Computes the window (`fine`) and, beside it, the coarse band."""

    def __init__(
        self,
        trunk: Tensor,  # [batch, channels, rows, cols]
        window: Tensor,
        leaving: Tensor,
        carried: Tensor,
        caches: tuple[Tensor, ...],
        calibration: Calibration | None,
    ) -> None:
        super().__init__()
        self.coarse = trunk
        self.fine = trunk  # until the first upsampling, which cuts the window out
        self.window, self.leaving = window, leaving
        self.carried, self.caches = carried, caches
        self.calibration = calibration
        self.seen_fine: list[Tensor] = []  # means over lines and rows, for calibration
        self.seen_coarse: list[Tensor] = []
        self.new_carried: list[Tensor] = []
        self.new_caches: list[Tensor] = []
        self.groups_done = 0
        self.entered: list[tuple[Tensor, Tensor]] = []
        rows = torch.arange(trunk.shape[2])
        above = (window[0] * 0.5 - rows).clamp(0.0, 1.0)
        self.share_above = above  # [rows], of each row of tokens, above the window
        self.share_leaving = ((window[0] + leaving) * 0.5 - rows).clamp(0.0, 1.0) - above

    def upsample(self, conv: nn.Conv2d) -> None:
        self.fine = F.interpolate(self.fine, scale_factor=2.0, mode="nearest")
        if self.scale == 1:
            self.fine = self.fine.index_select(2, self.window)
        super().upsample(conv)

    def convolve(self, conv: nn.Conv2d) -> None:
        lines = torch.cat([self.caches[len(self.new_caches)], self.fine], dim=2)
        self.new_caches.append(lines.index_select(2, self.leaving * (self.scale // 2)))
        self.fine = F.conv2d(F.pad(lines, (1, 1, 0, 1)), conv.weight, conv.bias)
        kernel = coarse_kernel(conv.weight, self.scale)
        self.coarse = F.conv2d(self.coarse, kernel, conv.bias, padding=1)

    def norm_silu(self, norm: nn.GroupNorm) -> None:
        """Group norm over all rows so far, as well as it is known, then SiLU.

        Moments are taken about the window's mean: the square of a mean is far larger than the
        variance of a flat sky, and single precision would not tell them apart.
        """
        groups, rows = norm.num_groups, self.coarse.shape[2]
        centre = self.fine.reshape(self.fine.shape[0], groups, -1).mean(dim=2)
        of_lines = _moments(self.fine, centre)  # [batch, 2, groups, lines]
        of_rows = _moments(self.coarse, centre)  # [batch, 2, groups, rows]
        above, carried = self._above(of_lines, of_rows, centre)
        self.new_carried.append(carried)
        in_window = of_lines.sum(dim=3) / self.scale  # in units of a row of tokens
        offset, square = ((in_window + above) / rows).unbind(dim=1)
        # The window's share of the rows accounts for at least that share of its own variance.
        variance = torch.maximum(square - offset.square(), in_window[:, 1] / rows)
        mean = centre + offset

        width = norm.num_channels // norm.num_groups
        inverse = _per_channel((variance + norm.eps).rsqrt(), width) * norm.weight
        shift = norm.bias - _per_channel(mean, width) * inverse
        factor, offset = inverse[:, :, None, None], shift[:, :, None, None]
        self.fine = F.silu(self.fine * factor + offset)
        self.coarse = F.silu(self.coarse * factor + offset)

    def _above(self, of_lines: Tensor, of_rows: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """The moments about `centre` [batch, groups] of the rows above the window, summed over
        them, and what is carried on, about zero. Both are [batch, 2, groups].

        `of_lines` [batch, 2, groups, lines] and `of_rows` [batch, 2, groups, rows].
        """
        groups = centre.shape[1]
        part = slice(self.groups_done, self.groups_done + groups)
        self.groups_done += groups
        carried = self.carried[:, :, part]
        lines, rows = _moved(of_lines, -centre), _moved(of_rows, -centre)  # about zero
        self.seen_fine.append(lines.mean(dim=3))
        self.seen_coarse.append(rows.mean(dim=3))
        if self.calibration is not None:
            gain, offset = self.calibration.gain[:, part], self.calibration.offset[:, part]
            likely = _moved(rows * gain[:, :, None] + offset[:, :, None], centre)
            return (likely * self.share_above).sum(dim=3), carried
        # A sum of differences: the centre's own square is in both of them.
        mean, square = carried.unbind(dim=1)
        missing = torch.stack([mean, square - 2 * centre * mean], dim=1)
        above = (of_rows * self.share_above).sum(dim=3) + missing
        number = torch.arange(self.fine.shape[2])
        gone = (number < self.leaving * (self.scale // 2)).to(lines.dtype)
        fine_gone = (lines * gone).sum(dim=3) / self.scale
        coarse_gone = (rows * self.share_leaving).sum(dim=3)
        return above, carried + fine_gone - coarse_gone

    def enter(self, shortcut: nn.Module) -> None:
        self.entered.append((shortcut(self.fine), shortcut(self.coarse)))

    def leave(self) -> None:
        fine, coarse = self.entered.pop()
        self.fine, self.coarse = fine + self.fine, coarse + self.coarse


def coarse_kernel(kernel: Tensor, scale: int) -> Tensor:
    """The 3x3 kernel over tokens that does, on average, what `kernel` does within them.

    `kernel` [outputs, inputs, 3, 3] runs on an image that is constant within squares of `scale`
    pixels: of the pixels of a square only those at its edge see its neighbour.
    """
    seen = 1 / scale
    tap = torch.tensor([[seen, 1 - seen, 0.0], [0.0, 1.0, 0.0], [0.0, 1 - seen, seen]])
    both = torch.kron(tap, tap)  # [9 taps of the kernel, 9 taps of the result]
    return (kernel.flatten(2) @ both).reshape(kernel.shape)


def _moments(hidden: Tensor, centre: Tensor) -> Tensor:
    """[batch, channels, lines, width] -> mean and mean square about `centre` [batch, groups].

    Over the channels of a group and the width: [batch, 2, groups, lines].
    """
    batch, channels, lines, width = hidden.shape
    groups = centre.shape[1]
    grouped = hidden.reshape(batch, groups, channels // groups, lines, width)
    apart = grouped - centre[:, :, None, None, None]
    return torch.stack([apart.mean(dim=(2, 4)), apart.square().mean(dim=(2, 4))], dim=1)


def _moved(moments: Tensor, by: Tensor) -> Tensor:
    """Moments [batch, 2, groups, lines] about a centre that lies higher by `by` [batch, groups]."""
    mean, square = moments.unbind(dim=1)
    shift = by[:, :, None]
    return torch.stack([mean - shift, square - 2 * shift * mean + shift.square()], dim=1)


def _per_channel(values: Tensor, width: int) -> Tensor:
    """[batch, groups] -> [batch, channels]."""
    return values[:, :, None].expand(-1, -1, width).flatten(1)
