"""The scheme of incremental decoding said a second time, slowly: every layer's whole map is kept.

In double precision. Shares weights with the module and nothing else: no caches, no sums. A layer's
lines above the window are found in the map that earlier updates left; what a half row differed from
its coarse self is looked up half row by half row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from rowcast_export.incremental import Calibration
from rowcast_export.vqgan import VQGANDecoder
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Layer:
    """What one convolution or norm leaves behind."""

    whole: Tensor | None = None  # a convolution's input, [batch, channels, all lines, width]
    left: list[Tensor] = field(default_factory=list)  # of each half row: fine less coarse moments


class SlowPicture:
    """A batch of pictures, painted update by update."""

    def __init__(
        self, decoder: VQGANDecoder, redone_half_rows: int, calibration: Calibration | None = None
    ) -> None:
        self.decoder = copy.deepcopy(decoder).double()
        self.redone, self.calibration = redone_half_rows, calibration
        self.layers = [Layer() for _ in self.band()]
        self.rows = 0
        self.values: Tensor | None = None
        self.coarse: Tensor | None = None

    @torch.no_grad()
    def show(self, ids: Tensor) -> Tensor:
        """int64 [batch, rows, cols] -> [batch, 3, height, width] in 0..1."""
        rows = ids.shape[1]
        first = max(0, 2 * self.rows - self.redone)
        following = max(0, 2 * rows - self.redone)
        fine = coarse = self.trunk(ids)
        scale, group = 1, 0
        shortcuts: list[tuple[Tensor, Tensor]] = []
        for layer, (kind, part) in zip(self.layers, self.band(), strict=True):
            if kind == "up":
                fine = fine.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                scale *= 2
                if scale == 2:
                    fine = fine[:, :, first:]
            elif kind == "enter":
                shortcuts.append((part(fine), part(coarse)))
            elif kind == "leave":
                before = shortcuts.pop()
                fine, coarse = before[0] + fine, before[1] + coarse
            elif isinstance(part, nn.GroupNorm):
                mean, variance = self.statistics(
                    layer, part, group, fine, coarse, scale, first, following
                )
                group += part.num_groups
                fine, coarse = (normed(part, each, mean, variance) for each in (fine, coarse))
            else:
                assert isinstance(part, nn.Conv2d)
                above = first * scale // 2
                old = fine[:, :, :0] if layer.whole is None else layer.whole[:, :, :above]
                layer.whole = torch.cat([old, fine], dim=2)
                fine = F.conv2d(layer.whole, part.weight, part.bias, padding=1)[:, :, above:]
                coarse = averaged(part, coarse, scale)
        black, white = self.decoder.value_range
        fine, coarse = ((each - black) / (white - black) for each in (fine, coarse))
        above = first * scale // 2
        if self.values is not None and self.coarse is not None and above:
            change = coarse[:, :, : self.rows] - self.coarse
            change = F.interpolate(change, scale_factor=float(scale), mode="bilinear")
            fine = torch.cat([(self.values + change)[:, :, :above], fine], dim=2)
        self.values, self.coarse, self.rows = fine, coarse, rows
        return fine.clamp(0, 1)

    def trunk(self, ids: Tensor) -> Tensor:
        """The lowest level, without its step up."""
        inner = self.decoder.decoder
        vectors = self.decoder.embedding(ids).permute(0, 3, 1, 2)
        hidden = inner.stem(self.decoder.post_quant_conv(vectors))
        lowest = inner.up[-1]
        for index, block in enumerate(lowest.block):
            hidden = block(hidden)
            hidden = lowest.attn[index](hidden) if len(lowest.attn) else hidden
        return hidden

    def band(self) -> Iterator[tuple[str, nn.Module]]:
        inner = self.decoder.decoder
        for index, level in enumerate(reversed(inner.up)):
            for block in level.block if index else ():
                yield "enter", block.nin_shortcut
                yield from (("norm", block.norm1), ("conv", block.conv1))
                yield from (("norm", block.norm2), ("conv", block.conv2), ("leave", block))
            if hasattr(level.upsample, "conv"):
                yield from (("up", level), ("conv", level.upsample.conv))
        yield from (("norm", inner.norm_out), ("conv", inner.conv_out))

    def statistics(
        self,
        layer: Layer,
        norm: nn.GroupNorm,
        group: int,
        fine: Tensor,
        coarse: Tensor,
        scale: int,
        first: int,
        following: int,
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance [batch, groups] over all rows so far, half row by half row."""
        lines = scale // 2
        here = [moments(part, norm.num_groups) for part in fine.split(lines, dim=2)]
        rows = [moments(part, norm.num_groups) for part in coarse.split(1, dim=2)]
        above = []
        for half in range(first):
            if self.calibration is None:
                above.append(rows[half // 2] + layer.left[half])
            else:
                part = slice(group, group + norm.num_groups)
                gain, offset = self.calibration.gain[:, part], self.calibration.offset[:, part]
                above.append(gain[:, None] * rows[half // 2] + offset[:, None])
        for half in range(first, following):
            assert len(layer.left) == half
            layer.left.append(here[half - first] - rows[half // 2])
        mean, square = torch.stack([*above, *here]).mean(dim=0)
        own_mean, own_square = torch.stack(here).mean(dim=0)
        share = len(here) / (len(here) + len(above))
        least = share * (own_square - own_mean.square()).clamp_min(0)
        return mean, torch.maximum(square - mean.square(), least)


def moments(hidden: Tensor, groups: int) -> Tensor:
    """[batch, channels, lines, width] -> means of values and squares, [2, batch, groups]."""
    grouped = hidden.reshape(hidden.shape[0], groups, -1)
    return torch.stack([grouped.mean(dim=2), grouped.square().mean(dim=2)])


def normed(norm: nn.GroupNorm, hidden: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    grouped = hidden.reshape(*mean.shape, -1)
    scaled = (grouped - mean[..., None]) / (variance[..., None] + norm.eps).sqrt()
    scaled = scaled.reshape(hidden.shape)
    return F.silu(scaled * norm.weight[:, None, None] + norm.bias[:, None, None])


def averaged(conv: nn.Conv2d, hidden: Tensor, scale: int) -> Tensor:
    """The convolution of an image of squares, averaged over each square: what coarse stands for."""
    squares = hidden.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return F.avg_pool2d(F.conv2d(squares, conv.weight, conv.bias, padding=1), scale)
