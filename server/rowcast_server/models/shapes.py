"""A check that files hold a whole transformer: every tensor by name and shape, from a few of the
shapes.

Knows the architecture (dalle_bart.py, its graphs), not the formats. A file may leave out the scales
of LayerNorms alone, which then mean 1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Final

from ..errors import ModelError
from ..network.facts import HEAD_WIDTH, TEXT_POSITIONS
from ..network.tensors import Tensors

logger = logging.getLogger(__name__)

Expected = Iterator[tuple[str, tuple[int, ...]]]
ATTENTIONS: Final = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


def check_transformer(encoder: Tensors, decoder: Tensors) -> None:
    """Raises ModelError, naming file and tensor, unless the two are a whole transformer."""
    for half, tensors in (("encoder", encoder), ("decoder", decoder)):
        _check_half(half, tensors)
    widths = [tensors.shape("embed_positions.weight")[1] for tensors in (encoder, decoder)]
    if widths[0] != widths[1]:
        raise ModelError(
            f"{encoder.path} is an encoder of width {widths[0]} and {decoder.path} a decoder of "
            f"width {widths[1]}: they belong to different models (Mini's width is 1024, Mega's "
            "2048)"
        )
    if (positions := encoder.shape("embed_positions.weight")[0]) != TEXT_POSITIONS:
        raise ModelError(
            f"{encoder.path}: embed_positions.weight is for {positions} text tokens, "
            f"not {TEXT_POSITIONS}"
        )


def _check_half(half: str, tensors: Tensors) -> None:
    layers = {int(found[1]) for name in tensors if (found := re.match(r"layers\.(\d+)\.", name))}
    for name in ("embed_positions.weight", "embed_tokens.weight", "layers.0.glu.fc0.weight"):
        if name not in tensors:
            raise _missing(tensors, name, half)
        if len(tensors.shape(name)) != 2:
            raise ModelError(f"{tensors.path}: {name} is of shape {tensors.shape(name)}")
    width = tensors.shape("embed_positions.weight")[1]
    if width % HEAD_WIDTH:
        raise ModelError(
            f"{tensors.path}: embed_positions.weight is {width} wide, which is no whole number "
            f"of heads of {HEAD_WIDTH}"
        )
    known = set()
    for name, shape in _expected(half, tensors, max(layers) + 1):
        known.add(name)
        if name not in tensors:
            if _may_be_absent(name):
                continue
            raise _missing(tensors, name, half)
        if tensors.shape(name) != shape:
            raise ModelError(
                f"{tensors.path}: {name} is of shape {_spelled(tensors.shape(name))}, "
                f"needs {_spelled(shape)}"
            )
    unknown = sorted(set(tensors) - known)
    for name in unknown:
        if name.startswith("layers."):  # it would change the numbers: do not guess
            raise ModelError(f"{tensors.path}: {name} is not part of this architecture")
    if unknown:
        logger.warning("%s: ignored %s", tensors.path, ", ".join(unknown[:5]))


def _expected(half: str, tensors: Tensors, layers: int) -> Expected:
    width = tensors.shape("embed_positions.weight")[1]
    glu_width = tensors.shape("layers.0.glu.fc0.weight")[0]
    vocabulary = tensors.shape("embed_tokens.weight")[0]
    yield "embed_tokens.weight", (vocabulary, width)
    yield "embed_positions.weight", tensors.shape("embed_positions.weight")
    yield from _norm("layernorm_embedding", width)
    yield from _norm("final_ln", width)
    if half == "decoder":
        outputs = tensors.shape("lm_head.weight")[0] if "lm_head.weight" in tensors else vocabulary
        yield "lm_head.weight", (outputs, width)
    for layer in range(layers):
        name = f"layers.{layer}"
        for attention in ATTENTIONS[half]:
            yield from _norm(f"{name}.pre_{attention}_layer_norm", width)
            for part in ("k", "v", "q", "out"):
                yield f"{name}.{attention}.{part}_proj.weight", (width, width)
            yield from _norm(f"{name}.{attention}_layer_norm", width)
        yield from _norm(f"{name}.glu.ln0", width)
        yield f"{name}.glu.fc0.weight", (glu_width, width)
        yield f"{name}.glu.fc1.weight", (glu_width, width)
        yield from _norm(f"{name}.glu.ln1", glu_width)
        yield f"{name}.glu.fc2.weight", (width, glu_width)


def _norm(name: str, width: int) -> Expected:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _may_be_absent(name: str) -> bool:
    """True for the scale of a LayerNorm."""
    return re.search(r"(layer_norm|layernorm_embedding|final_ln|ln[01])\.weight$", name) is not None


def _missing(tensors: Tensors, name: str, half: str) -> ModelError:
    return ModelError(
        f"{tensors.path}: {name} is missing, so this is no whole {half}; it holds "
        f"{len(tensors)} tensors"
    )


def _spelled(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
