"""VQGAN decoders for tests: the shape of a tiny one, and those of other people, in their files.

The latter are a second implementation, from the families' own descriptions, that shares nothing
with ours: plain functions over a dict of tensors under foreign names. It makes such dicts too, at a
tiny size, and writes them to checkpoint files as others do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import torch
from rowcast_export.vqgan import DecoderShape, LevelShape
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.checkpoints import flax_bytes

TINY = DecoderShape(
    codebook_size=50,
    code_channels=4,
    latent_channels=32,
    mid_channels=32,
    mid_attention=True,
    levels=(
        LevelShape(32, (32,), attention=False, upsample=False),
        LevelShape(32, (32,), attention=True, upsample=True),
    ),
)

WIDTHS = (64, 32)  # channels of the levels, the lowest resolution first, but for Janus
BLOCKS = 1  # residual blocks a level
LATENT = 32
CODES = 40
State = dict[str, Tensor]


@dataclass(frozen=True)
class Naming:
    """How a family calls its tensors; `level` counts from the lowest resolution."""

    family: str
    codebook: str
    middle: tuple[str, str, str]
    block: Callable[[int, int], str]
    attention: Callable[[int, int], str]
    upsample: Callable[[int], str]
    code_channels: int
    epsilon: float = 1e-6
    black: float = -1.0
    unit_codes: bool = False
    flax: bool = False
    widths: tuple[int, int] = WIDTHS

    @property
    def weight(self) -> str:
        return "kernel" if self.flax else "weight"

    @property
    def scale(self) -> str:
        return "scale" if self.flax else "weight"


LAST = len(WIDTHS) - 1
MIDDLE = ("decoder.mid.block_1", "decoder.mid.attn_1", "decoder.mid.block_2")
TAMING = Naming(
    "taming",
    "quantize.embedding.weight",
    MIDDLE,
    lambda level, j: f"decoder.up.{LAST - level}.block.{j}",
    lambda level, j: f"decoder.up.{LAST - level}.attn.{j}",
    lambda level: f"decoder.up.{LAST - level}.upsample.conv",
    code_channels=16,
)
JANUS = Naming(  # as transformers writes it: taming's names, in the other order
    "janus",
    "quantize.embedding.weight",
    MIDDLE,
    lambda level, j: f"decoder.up.{level}.block.{j}",
    lambda level, j: f"decoder.up.{level}.attn.{j}",
    lambda level: f"decoder.up.{level}.upsample.conv",
    code_channels=8,
    unit_codes=True,
    widths=(64, 64),  # channel_multiplier=[1, 1]: no shape tells the order
)
LLAMAGEN = Naming(
    "llamagen",
    "quantize.embedding.weight",
    ("decoder.mid.0", "decoder.mid.1", "decoder.mid.2"),
    lambda level, j: f"decoder.conv_blocks.{level}.res.{j}",
    lambda level, j: f"decoder.conv_blocks.{level}.attn.{j}",
    lambda level: f"decoder.conv_blocks.{level}.upsample.conv",
    code_channels=8,
    unit_codes=True,
)
FLAX = Naming(
    "flax",
    "quantize.embedding.embedding",
    MIDDLE,
    lambda level, j: f"decoder.up_{LAST - level}.block_{j}",
    lambda level, j: f"decoder.up_{LAST - level}.attn_{j}",
    lambda level: f"decoder.up_{LAST - level}.upsample.conv",
    code_channels=16,
    black=0.0,
    flax=True,
)


def make_state(naming: Naming, seed: int = 0) -> State:
    """Random weights whose pictures are neither black, white nor flat, and an encoder's besides."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, inputs: int, outputs: int, side: int = 3) -> None:
        weight = torch.randn(outputs, inputs, side, side, generator=generator)
        weight *= (inputs * side * side) ** -0.5
        state[f"{name}.{naming.weight}"] = weight.permute(2, 3, 1, 0) if naming.flax else weight
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    def norm(name: str, channels: int) -> None:
        state[f"{name}.{naming.scale}"] = 1 + torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.1

    def block(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        conv(f"{name}.conv1", inputs, outputs)
        norm(f"{name}.norm2", outputs)
        conv(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.nin_shortcut", inputs, outputs, 1)

    def attention(name: str, channels: int) -> None:
        norm(f"{name}.norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", channels, channels, 1)

    state[naming.codebook] = torch.randn(CODES, naming.code_channels, generator=generator)
    conv("post_quant_conv", naming.code_channels, LATENT, 1)
    conv("quant_conv", LATENT, naming.code_channels, 1)
    conv("encoder.conv_in", 3, 32)
    inputs = naming.widths[0]
    conv("decoder.conv_in", LATENT, inputs)
    block(naming.middle[0], inputs, inputs)
    attention(naming.middle[1], inputs)
    block(naming.middle[2], inputs, inputs)
    for level, width in enumerate(naming.widths):
        for j in range(BLOCKS):
            block(naming.block(level, j), inputs, width)
            if level == 0:
                attention(naming.attention(level, j), width)
            inputs = width
        if level < LAST:
            conv(naming.upsample(level), width, width)
    norm("decoder.norm_out", inputs)
    conv("decoder.conv_out", inputs, 3)
    return state


def lively(module: nn.Module) -> None:
    """Weights whose pictures are neither black, white nor flat."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(noise * 0.1)
            elif parameter.dim() == 4:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
        head = module.get_parameter("decoder.conv_out.bias")
        head.add_(0.5)


def decode(naming: Naming, state: State, ids: Tensor) -> Tensor:
    """Ids [batch, rows, cols] -> pixels [batch, 3, height, width], black 0 and white 1."""

    def conv(name: str, hidden: Tensor) -> Tensor:
        weight = state[f"{name}.{naming.weight}"]
        if naming.flax:
            weight = weight.permute(3, 2, 0, 1)
        return F.conv2d(hidden, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, hidden: Tensor) -> Tensor:
        weight, bias = state[f"{name}.{naming.scale}"], state[f"{name}.bias"]
        return F.group_norm(hidden, 32, weight, bias, naming.epsilon)

    def swish(hidden: Tensor) -> Tensor:
        return hidden * torch.sigmoid(hidden)

    def block(name: str, hidden: Tensor) -> Tensor:
        inner = conv(f"{name}.conv1", swish(norm(f"{name}.norm1", hidden)))
        inner = conv(f"{name}.conv2", swish(norm(f"{name}.norm2", inner)))
        if f"{name}.nin_shortcut.bias" in state:
            hidden = conv(f"{name}.nin_shortcut", hidden)
        return hidden + inner

    def attention(name: str, hidden: Tensor) -> Tensor:
        normed = norm(f"{name}.norm", hidden)
        q, k, v = (conv(f"{name}.{part}", normed).flatten(2).mT for part in ("q", "k", "v"))
        mixed = F.scaled_dot_product_attention(q, k, v).mT.reshape(hidden.shape)
        return hidden + conv(f"{name}.proj_out", mixed)

    table = state[naming.codebook]
    if naming.unit_codes:
        table = table / table.norm(dim=-1, keepdim=True)
    hidden = conv("decoder.conv_in", conv("post_quant_conv", table[ids].movedim(-1, 1)))
    hidden = block(naming.middle[0], hidden)
    hidden = attention(naming.middle[1], hidden)
    hidden = block(naming.middle[2], hidden)
    for level in range(len(WIDTHS)):
        for j in range(BLOCKS):
            hidden = block(naming.block(level, j), hidden)
            if level == 0:
                hidden = attention(naming.attention(level, j), hidden)
        if level < LAST:
            hidden = conv(naming.upsample(level), F.interpolate(hidden, scale_factor=2.0))
    pixels = conv("decoder.conv_out", swish(norm("decoder.norm_out", hidden)))
    return ((pixels - naming.black) / (1 - naming.black)).clamp(0, 1)


def write_torch_zip(path: Path, state: State) -> Path:
    """As a trainer does, beside which other things may lie."""
    torch.save({"state_dict": state}, path)
    return path


def write_old_torch(path: Path, state: State) -> Path:
    """The format before torch 1.6."""
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


def write_safetensors(path: Path, state: State) -> Path:
    save_file(state, path)
    return path


def write_flax(path: Path, state: State, chunked: bool = False) -> Path:
    """As flax.serialization does: nested maps, arrays as an extension of (shape, dtype, bytes)."""
    tree: dict[str, Any] = {}
    for name, value in state.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        if value.dtype == torch.bfloat16:
            branch[last] = value.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            branch[last] = value.numpy()
    path.write_bytes(flax_bytes(tree, chunked))
    return path


def write_chunked_flax(path: Path, state: State) -> Path:
    """Large arrays in pieces."""
    return write_flax(path, state, chunked=True)
