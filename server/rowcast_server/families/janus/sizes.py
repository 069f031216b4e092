"""Facts of Janus-Pro: names and shapes of its tensors, and what no shape tells.

Sources: deepseek-ai/Janus `janus/models/modeling_vlm.py`, transformers `models/janus`, and the
`config.json` of Janus-Pro-1B and -7B.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...network.facts import STREAMS, Sampling, Weights, layer_count
from ...network.tensors import shape_of

HEAD_WIDTH: Final = 128  # of every attention head, in both sizes
ROTARY_BASE: Final = 10_000.0
RMS_NORM_EPSILON: Final = 1e-6
GRID_SIDE: Final = 24
# Tokens of a prompt with its frame and the begin-of-image token; a longer one is cut.
TEXT_PLACES: Final = 128
REMEMBERED_STREAMS: Final = 16  # whose caches are kept; of the 1B one of 30 tokens takes 12 MB
SAMPLING: Final = Sampling(top_k=0, guidance=5.0)  # its generation_config's

EMBED_TEXT: Final = "embed_tokens.weight"
EMBED_CODES: Final = "gen_embed.weight"
ALIGNER: Final = "gen_aligner.layers.0", "gen_aligner.layers.2"
HEAD: Final = "gen_head.output_mlp_projector", "gen_head.vision_head"
LAST_NORM: Final = "norm.weight"


@dataclass(frozen=True)
class JanusSizes:
    """The sizes of a network. ``code_width`` is that of an image token's own embedding."""

    vocabulary: int
    codes: int
    code_width: int
    width: int
    ffn_width: int
    layers: int

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> JanusSizes:
        """Read the sizes off the tensors' shapes.

        Raises KeyError where a tensor is missing, ValueError where the width is not whole heads.
        """
        vocabulary, width = shape_of(weights, EMBED_TEXT)
        if width % HEAD_WIDTH:
            raise ValueError(
                f"{EMBED_TEXT} is {width} wide, which is no whole number of heads of {HEAD_WIDTH}"
            )
        codes, code_width = shape_of(weights, EMBED_CODES)
        return cls(
            vocabulary,
            codes,
            code_width,
            width,
            shape_of(weights, "layers.0.mlp.gate_proj.weight")[0],
            layer_count(weights),
        )

    @property
    def heads(self) -> int:
        return self.width // HEAD_WIDTH

    @property
    def slot_values(self) -> int:
        """Keys and values of one place of a slot, both streams, all layers."""
        return 2 * STREAMS * self.layers * self.width


def is_janus(weights: Mapping[str, Any]) -> bool:
    """True if these are a Janus network's tensors, by our names."""
    return EMBED_CODES in weights


def tensors_of(sizes: JanusSizes) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that drawing needs."""
    width, ffn_width = sizes.width, sizes.ffn_width
    shapes: dict[str, tuple[int, ...]] = {
        EMBED_TEXT: (sizes.vocabulary, width),
        EMBED_CODES: (sizes.codes, sizes.code_width),
        LAST_NORM: (width,),
    }
    linears = {
        ALIGNER[0]: (width, sizes.code_width),
        ALIGNER[1]: (width, width),
        HEAD[0]: (width, width),
        HEAD[1]: (sizes.codes, width),
    }
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for layer in range(sizes.layers):
        name = f"layers.{layer}"
        for part in "qkvo":
            shapes[f"{name}.self_attn.{part}_proj.weight"] = width, width
        for part in ("gate", "up"):
            shapes[f"{name}.mlp.{part}_proj.weight"] = ffn_width, width
        shapes[f"{name}.mlp.down_proj.weight"] = width, ffn_width
        for part in ("input", "post_attention"):
            shapes[f"{name}.{part}_layernorm.weight"] = (width,)
    return shapes


def rotations(places: int) -> NDArray[np.float32]:
    """Cosines and sines of rotary positions (Su et al., arXiv:2104.09864), [2, places, 64]
    float32."""
    powers = np.arange(0, HEAD_WIDTH, 2, dtype=np.float32) / np.float32(HEAD_WIDTH)
    frequencies = (1.0 / np.float32(ROTARY_BASE) ** powers).astype(np.float32)
    angles = np.arange(places, dtype=np.float32)[:, None] * frequencies
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def code_count(weights: Weights) -> int:
    """The number of codes; as an image id it stands for the begin-of-image token."""
    return shape_of(weights, EMBED_CODES)[0]
