"""The palette: one colour for each code, so that a row can be painted at once by looking it up.

The colour is that of an endless plane of the code. Nothing in a decoder tells one position of such
a plane from another (nearest-neighbour upsampling, convolutions and norms keep a constant field
constant), so it is one colour exactly, and a 3x3 convolution on it is a 1x1 convolution with the
kernel's sum: the palette of 16,384 codes costs about as much as a few pictures. Group norms are
given the statistics of a patchwork of random codes, because over a plane of one code they would
divide by almost nothing. Measured on postcard's training scenes, against their decoded pictures at
4x4 pixels a token: 17.0 dB; its own statistics 5.0; the centre of 3x3 tokens of the code, which
costs hundreds of times as much, 15.4 at 4x4 pixels and 15.6 as one colour.

The file: ``palette.npy``, NumPy format 1.0 (128 bytes of header here, then the values), uint8
[codes, side, side, 3]: floor(x * 255) of red, green, blue. Here side = 1; grids that the model drew
teach a nearer one of 4 (``palette_teaching.py``). Readers take the side from the shape. This module
must not know what the palette is painted on.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .agreements import PaletteAgreement
from .errors import VerificationFailed
from .settings import FORMAT_VERSION
from .vqgan import DecoderShape, Upsample, VQGANDecoder

Palette = npt.NDArray[np.uint8]  # [codes, side, side, 3]
Statistics = dict[str, tuple[Tensor, Tensor]]  # of each group norm: mean and variance, [groups]

FILE_NAME: Final = "palette.npy"
PATCHWORK: Final = (4, 16, 16)  # pictures, rows, cols
PATCH: Final = 4  # tokens, the side of a square of one code
SEED: Final = 0
CODES_AT_ONCE: Final = 1024
CHECKED_CODES: Final = 8
LARGEST_DIFFERENCE: Final = 1  # of 255


def make_palette(module: VQGANDecoder) -> tuple[Palette, Statistics]:
    """The colours of all codes, and the statistics under which they were computed."""
    with torch.inference_mode():
        statistics = collect_statistics(module)
        plane = _plane(module, statistics)
        ids = torch.arange(module.shape.codebook_size)[:, None, None]
        parts = [_to_bytes(plane(part)) for part in torch.split(ids, CODES_AT_ONCE)]
    return np.concatenate(parts), statistics


def collect_statistics(module: VQGANDecoder) -> Statistics:
    """Mean and variance of what each norm sees in a patchwork of random codes."""
    pictures, rows, cols = PATCHWORK
    generator = np.random.default_rng(SEED)
    patches = generator.integers(
        0, module.shape.codebook_size, (pictures, rows // PATCH, cols // PATCH)
    )
    ids = torch.from_numpy(patches.repeat(PATCH, axis=1).repeat(PATCH, axis=2))
    statistics: Statistics = {}

    def watch(name: str, groups: int, hidden: Tensor) -> None:
        pictures = hidden.shape[0]
        grouped = (
            hidden.reshape(pictures, groups, -1).transpose(0, 1).flatten(1)
        )  # [groups, values]
        statistics[name] = grouped.mean(dim=1), grouped.var(dim=1, unbiased=False)

    with contextlib.ExitStack() as stack:
        for name, norm in _norms(module):
            hook = norm.register_forward_pre_hook(
                lambda norm, inputs, name=name: watch(name, norm.num_groups, inputs[0])
            )
            stack.callback(hook.remove)
        module(ids)
    return statistics


def npy_bytes(palette: Palette) -> bytes:
    """The bytes of ``palette.npy``."""
    file = io.BytesIO()
    np.lib.format.write_array(file, palette, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def describe_palette(shape: DecoderShape, name: str, source_sha256: str) -> dict[str, str]:
    """The metadata of the palette, which stands in the manifest: the file has no room for it."""
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": "palette",
        "rowcast.precision": "uint8",
        "rowcast.model": name,
        "rowcast.codebook_size": str(shape.codebook_size),
        "rowcast.pixels_per_token": str(shape.pixels_per_token),
        "rowcast.source_sha256": source_sha256,
    }


def verify_palette(path: Path, module: VQGANDecoder, statistics: Statistics) -> PaletteAgreement:
    """Read the file and decode a few codes the long way. Raises VerificationFailed."""
    palette = read_palette(path, (module.shape.codebook_size, 1, 1, 3))
    count = min(CHECKED_CODES, len(palette))
    ids = np.random.default_rng(SEED).choice(len(palette), count, replace=False)
    with torch.inference_mode(), _endless(module, statistics):
        decoded = _to_bytes(module(torch.from_numpy(ids)[:, None, None]))
    apart = np.abs(decoded.astype(np.int16) - palette[ids])  # [codes, height, width, 3]
    if apart.max() > LARGEST_DIFFERENCE:
        raise VerificationFailed(f"palette: colours differ by {apart.max()} of 255")
    return PaletteAgreement(count, int(apart.max()))


def read_palette(path: Path, shape: tuple[int, ...]) -> Palette:
    """The values of a file. Raises VerificationFailed where they are not bytes of that shape."""
    try:
        palette: Palette = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise VerificationFailed(f"the palette cannot be read: {error}") from error
    if palette.dtype != np.uint8 or palette.shape != shape:
        raise VerificationFailed(f"palette: {palette.dtype} {palette.shape}, wanted uint8 {shape}")
    return palette


class _FrozenNorm(nn.Module):
    """Group norm with given statistics instead of its input's own."""

    def __init__(self, norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        width = norm.num_channels // norm.num_groups
        scale = (variance + norm.eps).rsqrt().repeat_interleave(width) * norm.weight
        self.scale = scale[:, None, None]
        self.shift = (norm.bias - mean.repeat_interleave(width) * scale)[:, None, None]

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * self.scale + self.shift


def _plane(module: VQGANDecoder, statistics: Statistics) -> VQGANDecoder:
    """The decoder of an endless plane, at one pixel: kernels summed, nothing upsampled."""
    plane = copy.deepcopy(module)
    for name, part in list(plane.named_modules()):
        if isinstance(part, nn.GroupNorm):
            plane.set_submodule(name, _FrozenNorm(part, *statistics[name]))
        elif isinstance(part, Upsample):
            plane.set_submodule(name, _summed(part.conv))
        elif isinstance(part, nn.Conv2d) and not name.endswith("upsample.conv"):
            plane.set_submodule(name, _summed(part))
    return plane


def _summed(conv: nn.Conv2d) -> nn.Conv2d:
    """The 1x1 convolution that does on a constant field what ``conv`` does."""
    point = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    point.weight = nn.Parameter(conv.weight.sum(dim=(2, 3), keepdim=True))
    point.bias = conv.bias
    return point


@contextlib.contextmanager
def _endless(module: VQGANDecoder, statistics: Statistics) -> Iterator[None]:
    """Let the decoder itself wrap around at its edges, with the same frozen norms."""
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    norms = _norms(module)
    try:
        for conv in convs:
            conv.padding_mode = "circular"
        for name, norm in norms:
            module.set_submodule(name, _FrozenNorm(norm, *statistics[name]))
        yield
    finally:
        for conv in convs:
            conv.padding_mode = "zeros"
        for name, norm in norms:
            module.set_submodule(name, norm)


def _norms(module: nn.Module) -> list[tuple[str, nn.GroupNorm]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, nn.GroupNorm)]


def _to_bytes(pixels: Tensor) -> Palette:
    """Pixels [codes, 3, height, width] in 0..1 -> floor(x * 255), [codes, height, width, 3]."""
    whole: Palette = (pixels * 255).floor().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return whole
