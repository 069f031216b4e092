"""The VQGAN decoder: a grid of token ids in, pixels out, for any number of rows and columns.

One graph serves the whole family (DALL-E Mini, taming f16, LlamaGen, Chameleon, postcard): each id
is looked up, then come a 1x1 convolution, residual blocks, attention and nearest-neighbour
upsampling. Every size, the number of levels, of blocks and of attention layers follows from the
names and shapes of a state dict: no configuration to get wrong. Keys are as in taming-transformers
(https://github.com/CompVis/taming-transformers, ``Decoder``; Esser et al. 2020, arXiv:2012.09841)
with the table under ``embedding.weight``.

This module must not know where a state dict came from (``formats`` does) nor what becomes of
the module (``export.py`` does). It imports torch and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_GROUPS = 32  # in every family but diffusers', where a configuration says it

Norm = Callable[[int], nn.GroupNorm]  # the norm of so many channels


@dataclass(frozen=True)
class LevelShape:
    """One resolution of the decoder. ``block_channels`` are the outputs of its residual blocks."""

    input_channels: int
    block_channels: tuple[int, ...]
    attention: bool
    upsample: bool


@dataclass(frozen=True)
class DecoderShape:
    """Every size of a decoder. ``levels[0]`` is the highest resolution, as in the keys ``up.0``."""

    codebook_size: int
    code_channels: int
    latent_channels: int  # after post_quant_conv
    mid_channels: int
    mid_attention: bool
    levels: tuple[LevelShape, ...]
    output_channels: int = 3

    @property
    def pixels_per_token(self) -> int:
        """Side of the square of pixels that one token covers."""
        return int(2 ** sum(level.upsample for level in self.levels))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> DecoderShape:
        """Read the sizes off the tensors.

        Raises KeyError where a key of the family is missing, ValueError where a tensor has not as
        many axes as it should.
        """
        levels = []
        for level in range(_count(state, r"decoder\.up\.(\d+)\.")):
            prefix = f"decoder.up.{level}"
            blocks = _count(state, rf"decoder\.up\.{level}\.block\.(\d+)\.")
            attentions = _count(state, rf"decoder\.up\.{level}\.attn\.(\d+)\.")
            if attentions not in (0, blocks):
                raise KeyError(f"{prefix}: {blocks} blocks but {attentions} attention layers")
            convs = [
                _shape(state, f"{prefix}.block.{i}.conv1.weight", 4) for i in range(max(blocks, 1))
            ]
            levels.append(
                LevelShape(
                    input_channels=convs[0][1],
                    block_channels=tuple(conv[0] for conv in convs),
                    attention=attentions > 0,
                    upsample=level > 0,
                )
            )
        if not levels:
            raise KeyError("decoder.up.0.block.0.conv1.weight")
        codebook_size, code_channels = _shape(state, "embedding.weight", 2)
        return cls(
            codebook_size=codebook_size,
            code_channels=code_channels,
            latent_channels=_shape(state, "post_quant_conv.weight", 4)[0],
            mid_channels=_shape(state, "decoder.conv_in.weight", 4)[0],
            mid_attention=any(key.startswith("decoder.mid.attn_1.") for key in state),
            levels=tuple(levels),
            output_channels=_shape(state, "decoder.conv_out.weight", 4)[0],
        )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest index that ``pattern`` captures in the keys; 0 if none matches."""
    matches = (re.match(pattern, key) for key in state)
    return max((int(match.group(1)) + 1 for match in matches if match), default=0)


def _shape(state: Mapping[str, Tensor], key: str, axes: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there. Raises KeyError or ValueError."""
    shape = tuple(int(size) for size in state[key].shape)
    if len(shape) != axes:
        raise ValueError(f"the tensor {key} has shape {list(shape)}, wanted {axes} axes")
    return shape


class ResidualBlock(nn.Module):
    """Residual block: norm, SiLU and 3x3 conv, twice; a 1x1 conv as shortcut if channels change."""

    def __init__(self, input_channels: int, output_channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = norm(input_channels)
        self.conv1 = nn.Conv2d(input_channels, output_channels, 3, padding=1)
        self.norm2 = norm(output_channels)
        self.conv2 = nn.Conv2d(output_channels, output_channels, 3, padding=1)
        self.nin_shortcut: nn.Module = nn.Identity()
        if input_channels != output_channels:
            self.nin_shortcut = nn.Conv2d(input_channels, output_channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, input channels, height, width] -> [batch, output channels, height, width]."""
        residual: Tensor = self.conv1(F.silu(self.norm1(hidden)))
        residual = self.conv2(F.silu(self.norm2(residual)))
        mixed: Tensor = self.nin_shortcut(hidden) + residual
        return mixed


class AttentionBlock(nn.Module):
    """Self-attention with one head over all positions; the grid need not be square."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.channels = channels
        self.norm = norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        normed = self.norm(hidden)
        query = self.q(normed).flatten(2).transpose(1, 2)  # [batch, height * width, channels]
        key = self.k(normed).flatten(2)  # [batch, channels, height * width]
        value = self.v(normed).flatten(2).transpose(1, 2)
        weights = torch.softmax(query @ key * self.channels**-0.5, dim=-1)
        mixed = (weights @ value).transpose(1, 2)
        attended: Tensor = self.proj_out(mixed.reshape(hidden.shape))
        return hidden + attended


class Upsample(nn.Module):
    """Nearest-neighbour x2, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, 2 * height, 2 * width]."""
        upsampled: Tensor = self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return upsampled


class Middle(nn.Module):
    """Residual block, attention (absent in a few families), residual block."""

    def __init__(self, channels: int, attention: bool, norm: Norm) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, norm)
        self.attn_1: nn.Module = nn.Identity()
        if attention:
            self.attn_1 = AttentionBlock(channels, norm)
        self.block_2 = ResidualBlock(channels, channels, norm)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, rows, cols] -> the same shape."""
        mixed: Tensor = self.block_2(self.attn_1(self.block_1(hidden)))
        return mixed


class Level(nn.Module):
    """The blocks of one resolution and, on all but the highest, the step up to the next."""

    def __init__(self, shape: LevelShape, norm: Norm) -> None:
        super().__init__()
        inputs = (shape.input_channels, *shape.block_channels[:-1])
        self.block = nn.ModuleList(
            ResidualBlock(before, after, norm)
            for before, after in zip(inputs, shape.block_channels, strict=True)
        )
        attended: Sequence[int] = shape.block_channels if shape.attention else ()
        self.attn = nn.ModuleList(AttentionBlock(channels, norm) for channels in attended)
        self.upsample: nn.Module = nn.Identity()
        if shape.upsample:
            self.upsample = Upsample(shape.block_channels[-1])

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, input channels, height, width] -> [batch, channels, 1|2 height, 1|2 width]."""
        for index, block in enumerate(self.block):
            hidden = block(hidden)
            if len(self.attn) > 0:
                hidden = self.attn[index](hidden)
        raised: Tensor = self.upsample(hidden)
        return raised


class Decoder(nn.Module):
    """Latent grid to unclipped pixels; the levels ``up`` are run from last to first."""

    def __init__(self, shape: DecoderShape, norm: Norm) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(shape.latent_channels, shape.mid_channels, 3, padding=1)
        self.mid = Middle(shape.mid_channels, shape.mid_attention, norm)
        self.up = nn.ModuleList(Level(level, norm) for level in shape.levels)
        channels = shape.levels[0].block_channels[-1]
        self.norm_out = norm(channels)
        self.conv_out = nn.Conv2d(channels, shape.output_channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """[batch, latent channels, rows, cols] -> unclipped pixels [batch, 3, rows*p, cols*p]."""
        hidden: Tensor = self.mid(self.conv_in(latent))
        for level in reversed(self.up):
            hidden = level(hidden)
        pixels: Tensor = self.conv_out(F.silu(self.norm_out(hidden)))
        return pixels


class VQGANDecoder(nn.Module):
    """Token ids to pixels in 0..1.

    ``value_range`` is the network's own black and white: (0, 1) or (-1, 1). It and the epsilon
    differ by family (``formats/families.py`` has the table). Families that normalise their codes
    (LlamaGen) are brought to a plain table before they come here.
    """

    def __init__(
        self,
        shape: DecoderShape,
        value_range: tuple[float, float] = (0.0, 1.0),
        norm_epsilon: float = 1e-6,
        norm_groups: int = NORM_GROUPS,
    ) -> None:
        super().__init__()
        if not value_range[0] < value_range[1]:
            raise ValueError(f"value_range must rise: {value_range}")
        self.shape = shape
        self.value_range = value_range
        self.embedding = nn.Embedding(shape.codebook_size, shape.code_channels)
        self.post_quant_conv = nn.Conv2d(shape.code_channels, shape.latent_channels, 1)
        self.decoder = Decoder(shape, partial(nn.GroupNorm, norm_groups, eps=norm_epsilon))

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Tensor],
        value_range: tuple[float, float] = (0.0, 1.0),
        norm_epsilon: float = 1e-6,
        norm_groups: int = NORM_GROUPS,
    ) -> VQGANDecoder:
        """A float32 module in eval mode.

        Raises KeyError, ValueError or RuntimeError if keys are missing, unknown or of unfitting
        shapes.
        """
        module = cls(DecoderShape.from_state_dict(state), value_range, norm_epsilon, norm_groups)
        module.load_state_dict({key: value.float() for key, value in state.items()})
        return module.eval()

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """Vectors [batch, code channels, rows, cols] -> pixels in ``value_range``, unclipped."""
        values: Tensor = self.decoder(self.post_quant_conv(vectors))
        return values

    def forward(self, ids: Tensor) -> Tensor:
        """int64 ids [batch, rows, cols] -> float pixels [batch, 3, rows*p, cols*p] in 0..1."""
        vectors = self.embedding(ids).permute(0, 3, 1, 2)  # [batch, code channels, rows, cols]
        black, white = self.value_range
        pixels = (self.decode_vectors(vectors) - black) / (white - black)
        return pixels.clamp(0.0, 1.0)
