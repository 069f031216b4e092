"""The training-only half of the tokenizer: pixels to codes, and the finite scalar quantiser.

Codes are points of a 7x7x7x7 lattice (Mentzer et al., "Finite Scalar Quantization", 2023): there is
no codebook to learn and none to collapse. The table of lattice points is shipped as an ordinary
codebook, so that every reader of VQGAN files can use it.
"""

from __future__ import annotations

import torch
from rowcast_export.vqgan import DecoderShape, LevelShape, Upsample
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 7  # values per dimension
DIMENSIONS = 4
CODEBOOK_SIZE = LEVELS**DIMENSIONS  # 2401
PIXELS_PER_TOKEN = 8
NORM_EPSILON = 1e-6


def decoder_shape(multipliers: tuple[int, ...] = (1, 1, 2, 4)) -> DecoderShape:
    """postcard's decoder: 32 channels at 128 pixels up to 128 at 16; attention at 16 only."""
    channels = [32 * multiplier for multiplier in multipliers]
    levels = tuple(
        LevelShape(
            input_channels=channels[min(index + 1, len(channels) - 1)],
            block_channels=(width,),
            attention=index == len(channels) - 1,
            upsample=index > 0,
        )
        for index, width in enumerate(channels)
    )
    return DecoderShape(CODEBOOK_SIZE, DIMENSIONS, channels[-1], channels[-1], True, levels)


def code_digits() -> Tensor:
    """Every code's place in the lattice: int64 [2401, 4], 0 … 6; id = sum of digit_d * 7^d."""
    ids = torch.arange(CODEBOOK_SIZE)
    return torch.stack([ids // LEVELS**d % LEVELS for d in range(DIMENSIONS)], dim=1)


def code_table() -> Tensor:
    """Every code vector: float [2401, 4], values -3/3 … 3/3."""
    half = (LEVELS - 1) // 2
    return (code_digits() - half).float() / half


def quantise(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Finite scalar quantisation of a latent [batch, 4, rows, cols].

    Returns vectors of the same shape, -1 … 1, with the straight-through gradient, and ids
    [batch, rows, cols].
    """
    half = (LEVELS - 1) // 2
    bounded = torch.tanh(latent.float()) * half
    rounded = bounded + (bounded.round() - bounded).detach()
    digits = bounded.detach().round().long() + half
    weights = LEVELS ** torch.arange(DIMENSIONS)
    ids = (digits * weights[None, :, None, None]).sum(dim=1)
    return rounded / half, ids


class Encoder(nn.Module):
    """Image encoder: pixels [batch, 3, 8r, 8c] in 0..1 to a latent grid [batch, 4, r, c].

    Each token sees its own square of 8x8 pixels and nothing else. What a token sees of its
    neighbours is noise that no caption explains, and the transformer would have to learn it
    (NOTES.md): equal squares have equal codes. The decoder has the context.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(PIXELS_PER_TOKEN),
            nn.Conv2d(3 * PIXELS_PER_TOKEN**2, width, 1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
            nn.SiLU(),
            nn.Conv2d(width, DIMENSIONS, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """The latent before quantisation."""
        latent: Tensor = self.layers(pixels * 2.0 - 1.0)
        return latent


class RepeatingUpsample(nn.Module):
    """`Upsample` by repetition of pixels, for training only; the same values and names of weights.

    torch 2.13's compiler makes the gradient of `F.interpolate` zero on channels-last CPU tensors
    (see NOTES.md), and then nothing below the highest level learns.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, 2 * height, 2 * width]."""
        batch, channels, height, width = hidden.shape
        doubled = hidden[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
        raised = doubled.reshape(batch, channels, 2 * height, 2 * width)
        output: Tensor = self.conv(raised.contiguous(memory_format=torch.channels_last))
        return output


def repeat_pixels(decoder: nn.Module) -> None:
    """Put a `RepeatingUpsample` of the same weights in the place of every `Upsample`."""
    for name, module in list(decoder.named_modules()):
        if isinstance(module, Upsample):
            decoder.set_submodule(name, RepeatingUpsample(module.conv))


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Reconstruction loss, a scalar: L1 + 4 L2 + L1 of the image gradients (crisp edges).

    `output` and `target` are [batch, 3, height, width] in 0..1.
    """
    difference = output - target
    across = difference[..., :, 1:] - difference[..., :, :-1]
    down = difference[..., 1:, :] - difference[..., :-1, :]
    edges = across.abs().mean() + down.abs().mean()
    return difference.abs().mean() + 4.0 * F.mse_loss(output, target) + edges
