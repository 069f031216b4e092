"""A check that files hold a whole transformer: every tensor by name and shape, from a few of the
shapes.

Knows the architecture (dalle_bart.py, its graphs), not the formats. A file may leave out the scales
of LayerNorms alone, which then mean 1.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from ..errors import ModelError
from ..network.facts import TEXT_POSITIONS, TransformerShape
from ..network.tensors import Tensors

logger = logging.getLogger(__name__)

# The scale of a LayerNorm, which may be absent.
SCALE: Final = re.compile(r"(layer_norm|layernorm_embedding|final_ln|ln[01])\.weight$")
ATTENTIONS: Final = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


def check_transformer(encoder: Tensors, decoder: Tensors) -> None:
    """Raises ModelError, naming file and tensor, unless the two are a whole transformer."""
    for half, tensors in (("encoder", encoder), ("decoder", decoder)):
        _check_half(half, tensors)
    widths = [tensors.shape("embed_positions.weight")[1] for tensors in (encoder, decoder)]
    if widths[0] != widths[1]:
        raise ModelError(
            f"{encoder.path} is an encoder of width {widths[0]} and {decoder.path} a decoder of "
            f"width {widths[1]}: take both from one model (Mini's width is 1024, Mega's 2048)"
        )
    if (positions := encoder.shape("embed_positions.weight")[0]) != TEXT_POSITIONS:
        raise ModelError(
            f"{encoder.path}: embed_positions.weight is for {positions} text tokens, "
            f"not {TEXT_POSITIONS}"
        )


def _check_half(half: str, tensors: Tensors) -> None:
    for name in ("embed_positions.weight", "embed_tokens.weight", "layers.0.glu.fc0.weight"):
        if name not in tensors:
            raise _missing(tensors, name, half)
        if len(tensors.shape(name)) != 2:
            found = _spelled(tensors.shape(name))
            raise ModelError(f"{tensors.path}: {name} is of shape {found}, needs two axes")
    try:
        sizes = TransformerShape.of(tensors)
    except ValueError as error:
        raise ModelError(f"{tensors.path}: {error}") from error
    expected = tensors_of(half, sizes)
    for name, shape in expected.items():
        if name not in tensors:
            if SCALE.search(name):
                continue
            raise _missing(tensors, name, half)
        if tensors.shape(name) != shape:
            raise ModelError(
                f"{tensors.path}: {name} is of shape {_spelled(tensors.shape(name))}, "
                f"needs {_spelled(shape)}"
            )
    unknown = sorted(set(tensors) - set(expected))
    for name in unknown:
        if name.startswith("layers."):  # it would change the numbers: do not guess
            raise ModelError(f"{tensors.path}: {name} is not part of this architecture; remove it")
    if unknown:
        logger.warning("%s: ignored %s", tensors.path, ", ".join(unknown[:5]))


def tensors_of(half: str, sizes: TransformerShape) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of an encoder or a decoder of these sizes."""
    width, glu_width = sizes.width, sizes.glu_width
    norms = {"layernorm_embedding": width, "final_ln": width}
    weights = {
        "embed_tokens": (sizes.vocabulary, width),
        "embed_positions": (sizes.positions, width),
    }
    if half == "decoder":
        weights["lm_head"] = sizes.outputs or sizes.vocabulary, width
    for layer in range(sizes.layers):
        name = f"layers.{layer}"
        for attention in ATTENTIONS[half]:
            norms |= {f"{name}.{each}{attention}_layer_norm": width for each in ("pre_", "")}
            for part in ("k", "v", "q", "out"):
                weights[f"{name}.{attention}.{part}_proj"] = width, width
        norms |= {f"{name}.glu.ln0": width, f"{name}.glu.ln1": glu_width}
        weights |= {f"{name}.glu.{part}": (glu_width, width) for part in ("fc0", "fc1")}
        weights[f"{name}.glu.fc2"] = width, glu_width
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": weights[name] for name in weights}
    for name, size in norms.items():
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    return shapes


def _missing(tensors: Tensors, name: str, half: str) -> ModelError:
    return ModelError(
        f"{tensors.path}: {name} is missing, so this is no whole {half} (it holds {len(tensors)} "
        "tensors); fetch or convert it anew"
    )


def _spelled(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
