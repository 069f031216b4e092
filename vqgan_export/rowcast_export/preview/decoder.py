"""The preview: a small convolutional decoder that imitates the full one's pixels.

Each id is looked up in a narrow table; then come residual blocks of 3x3 convolutions, most of them
where a token is one pixel, and sub-pixel upsampling (Shi et al. 2016, arXiv:1609.05158) up to a
last 3x3 convolution at full resolution. There are no norms and no attention: a pixel depends on
the tokens within eight of it and on nothing else. The tone that the full decoder's norms give to
a picture as a whole was not missed (D-62).

Sizes follow from the full decoder's: as many codes, as many pixels a token. This module must not
know how the weights are found (``distill.py`` does), nor what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vqgan import DecoderShape, VQGANDecoder
from .weights import PreviewSizes

TABLE_CHANNELS: Final = 32
# By resolution, from one pixel a token on, each twice the one before; the last goes on for ever.
WIDTHS: Final = (128, 64, 48, 24, 16)
BLOCKS: Final = (2, 2, 1, 1, 0)  # at the last resolution, that of the picture, there are none
CALM: Final = 0.1  # a residual block begins near the identity


@dataclass(frozen=True)
class PreviewShape:
    """Every size of a small decoder."""

    codebook_size: int
    pixels_per_token: int  # a power of two
    table_channels: int
    widths: tuple[int, ...]  # of each resolution, from one pixel a token to ``pixels_per_token``
    blocks: tuple[int, ...]

    @classmethod
    def of(cls, full: DecoderShape) -> PreviewShape:
        """The shape of the small decoder that imitates one of this shape."""
        doublings = full.pixels_per_token.bit_length() - 1
        widths = [WIDTHS[min(level, len(WIDTHS) - 1)] for level in range(doublings + 1)]
        blocks = [BLOCKS[min(level, len(BLOCKS) - 1)] for level in range(doublings)]
        return cls(
            codebook_size=full.codebook_size,
            pixels_per_token=full.pixels_per_token,
            table_channels=TABLE_CHANNELS,
            widths=tuple(widths),
            blocks=(*blocks, 0),
        )


class Residual(nn.Module):
    """Residual block: ReLU and a 3x3 convolution, twice, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(CALM)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        added: Tensor = self.conv2(F.relu(self.conv1(F.relu(hidden))))
        return hidden + added


class PreviewDecoder(nn.Module):
    """Token ids to pixels in 0..1, as ``VQGANDecoder``."""

    def __init__(self, shape: PreviewShape) -> None:
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(shape.codebook_size, shape.table_channels)
        self.conv_in = nn.Conv2d(shape.table_channels, shape.widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(count)))
            for width, count in zip(shape.widths, shape.blocks, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(width, 4 * higher, 1)
            for width, higher in zip(shape.widths, shape.widths[1:], strict=False)
        )
        self.conv_out = nn.Conv2d(shape.widths[-1], 3, 3, padding=1)

    @property
    def sizes(self) -> PreviewSizes:
        """Its sizes, as a file of its weights tells them."""
        levels = tuple(zip(self.shape.widths, self.shape.blocks, strict=True))
        shape = self.shape
        return PreviewSizes(
            shape.codebook_size, shape.pixels_per_token, shape.table_channels, levels
        )

    @torch.no_grad()
    def begin_from(self, full: VQGANDecoder) -> None:
        """Fill the table with the principal components of what the full decoder looks up.

        They are scaled so that all values together have variance 1 in the channels that are used;
        channels beyond the rank of the codes begin at 0.
        """
        codes = full.post_quant_conv(full.embedding.weight[:, :, None, None])[:, :, 0, 0].double()
        codes = codes - codes.mean(dim=0)
        variances, axes = torch.linalg.eigh(codes.T @ codes / len(codes))  # rising
        used = min(self.shape.table_channels, int((variances > variances[-1] * 1e-6).sum()))
        components = codes @ axes[:, -used:].flip(1)  # [codes, used], the largest first
        self.table.weight.zero_()
        self.table.weight[:, :used] = (components / components.std().clamp_min(1e-12)).float()

    def unclipped(self, ids: Tensor) -> Tensor:
        """As ``forward``, before it is clipped to 0..1."""
        hidden = self.conv_in(self.table(ids).permute(0, 3, 1, 2))
        for level, blocks in enumerate(self.levels):
            hidden = blocks(hidden)
            if level < len(self.up):
                hidden = F.pixel_shuffle(self.up[level](hidden), 2)
        pixels: Tensor = self.conv_out(F.relu(hidden)) + 0.5
        return pixels

    def forward(self, ids: Tensor) -> Tensor:
        """int64 ids [batch, rows, cols] -> float pixels [batch, 3, rows*p, cols*p] in 0..1."""
        return self.unclipped(ids).clamp(0.0, 1.0)


AnyDecoder = VQGANDecoder | PreviewDecoder
