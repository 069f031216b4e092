"""Facts of the DALL-E Mini family, each said once: sizes, special ids, and the records of a
network.

Needs numpy alone, so that nothing loads ONNX or torch for a constant or a type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .tensors import shape_of

HEAD_WIDTH: Final = 64  # of every attention head, in every checkpoint of the family
TEXT_POSITIONS: Final = 64  # text ids of a prompt, padded
LAYER_NORM_EPSILON: Final = 1e-5
START, PAD, END, UNKNOWN = 0, 1, 2, 3  # text ids: `<s>`, padding (always masked), `</s>`, `<unk>`

# Text ids of the empty prompt, the other stream of classifier-free guidance (Ho and Salimans,
# arXiv:2207.12598).
UNCONDITIONAL: Final = (START, END, *[PAD] * (TEXT_POSITIONS - 2))

# Part of a model's revision: raise it when the ids for the same weights change. 2: guidance is
# before lm_head, not after it. 3: the CPU caches keys and values, not states, by default.
SAMPLER_VERSION: Final = 3

STREAMS: Final = 2  # of a picture, for classifier-free guidance: with its text, and without

REMEMBERED_TEXTS: Final = 64  # whose encoding a runner keeps: a prompt is often asked for again

Weights = Mapping[str, NDArray[np.floating]]  # by min-dalle's names


@dataclass(frozen=True)
class Grid:
    """The token grid of a model: rows x cols ids below ``codebook_size``."""

    rows: int
    cols: int
    codebook_size: int
    start_token: int  # fed before the first id

    @property
    def tokens(self) -> int:
        return self.rows * self.cols


def _parameter(default: float, low: float, high: float | None) -> Any:
    """A sampling parameter and what a client may ask for; ``high`` None is the codebook's size."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters, the one list of them: admission, the announcement and the samplers read
    its fields."""

    temperature: float = _parameter(1.0, 0.01, 10.0)  # of the softmax
    top_k: int = _parameter(256, 0, None)  # keeps the k best codes (ties kept); 0 keeps all
    top_p: float = _parameter(1.0, 0.01, 1.0)  # keeps the smallest set of that probability
    guidance: float = _parameter(16.0, 0.0, 64.0)  # classifier-free: s of u + s (c - u)
    min_p: float = _parameter(0.0, 0.0, 1.0)  # keeps codes of that share of the best's probability


@dataclass(frozen=True)
class SpecialTokens:
    """Text ids that mean something to a family that draws behind its text."""

    begin_of_text: int
    pad: int
    begin_of_image: int

    def without_text(self, text_ids: tuple[int, ...]) -> tuple[int, ...]:
        """The unconditional stream's ids: padding, as long as the text between the two marks."""
        return (self.begin_of_text, *[self.pad] * (len(text_ids) - 2), self.begin_of_image)


@dataclass(frozen=True)
class Network:
    """The weights of a transformer and the grid it draws: a runner is made from these.

    A network without an encoder has all its tensors in ``decoder``, and special tokens. ``digest``
    stands for the weights where their graphs are kept on disk; without one, all is kept in memory.
    """

    encoder: Weights
    decoder: Weights
    grid: Grid
    digest: bytes | None
    specials: SpecialTokens | None = field(default=None, kw_only=True)


class CacheKind(StrEnum):
    """The decoder's cache of each token: its keys and values, or the state that they are made
    from, which takes half the memory and more time (self_attention.py)."""

    KEYS_AND_VALUES = "keys-values"
    STATES = "states"


DEFAULT_CACHE: Final = CacheKind.KEYS_AND_VALUES  # the faster one


@dataclass(frozen=True)
class TransformerShape:
    """The sizes of an encoder or a decoder. ``outputs`` is the width of `lm_head`, decoder only."""

    vocabulary: int
    positions: int
    width: int
    glu_width: int
    layers: int
    outputs: int = 0

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> TransformerShape:
        """Read the sizes off the shapes of arrays or tensors.

        Raises KeyError where a key is missing, ValueError where the width is not whole heads.
        """
        vocabulary, width = shape_of(weights, "embed_tokens.weight")
        if width % HEAD_WIDTH:
            raise ValueError(
                f"embed_tokens.weight is {width} wide, which is no whole number of heads of "
                f"{HEAD_WIDTH}"
            )
        return cls(
            vocabulary=vocabulary,
            positions=shape_of(weights, "embed_positions.weight")[0],
            width=width,
            glu_width=shape_of(weights, "layers.0.glu.fc0.weight")[0],
            layers=layer_count(weights),
            outputs=shape_of(weights, "lm_head.weight")[0] if "lm_head.weight" in weights else 0,
        )


def streams_of(layer: int) -> int:
    """Streams that a layer's self-attention caches: the first layer's comes before any text does,
    so there the two are one."""
    return 1 if layer == 0 else STREAMS


def layer_count(weights: Mapping[str, Any]) -> int:
    """The number of layers, from the names of their tensors."""
    numbers = [re.match(r"layers\.(\d+)\.", name) for name in weights]
    return 1 + max(int(number[1]) for number in numbers if number)
