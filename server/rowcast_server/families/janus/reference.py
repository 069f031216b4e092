"""Janus-Pro's network in torch: texts and image ids to the logits of both streams. Slow and plain.

A Llama (RMSNorm, rotary positions, SwiGLU, no biases) over text embeddings and, behind them, image
ids through `gen_aligner`; `gen_head` makes logits of its states. The reference that faster runners
must agree with. It must not know about guidance, sampling, files or requests.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from .sizes import (
    ALIGNER,
    EMBED_CODES,
    EMBED_TEXT,
    HEAD,
    HEAD_WIDTH,
    LAST_NORM,
    RMS_NORM_EPSILON,
    JanusSizes,
    rotations,
)


class JanusReference:
    """The network over float32 tensors by our names (sizes.py)."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._sizes = JanusSizes.of(weights)

    def logits(self, text: Tensor, drawn: Tensor) -> Tensor:
        """Teacher-forced logits: text ids [batch, text], the last of them the begin-of-image token,
        and image ids [batch, n] behind it -> [batch, n + 1, codes], what comes after each."""
        codes = F.embedding(drawn, self._weights[EMBED_CODES])
        x = torch.cat([F.embedding(text, self._weights[EMBED_TEXT]), self._mlp(codes, ALIGNER)], 1)
        for layer in range(self._sizes.layers):
            name = f"layers.{layer}"
            x = x + self._attend(self._norm(x, f"{name}.input_layernorm.weight"), name)
            normed = self._norm(x, f"{name}.post_attention_layernorm.weight")
            gate = F.silu(self._linear(normed, f"{name}.mlp.gate_proj"))
            up = self._linear(normed, f"{name}.mlp.up_proj")
            x = x + self._linear(gate * up, f"{name}.mlp.down_proj")
        return self._mlp(self._norm(x[:, text.shape[1] - 1 :], LAST_NORM), HEAD)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias"))

    def _mlp(self, x: Tensor, names: tuple[str, str]) -> Tensor:
        return self._linear(F.gelu(self._linear(x, names[0])), names[1])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self._weights[name], RMS_NORM_EPSILON)

    def _attend(self, x: Tensor, layer: str) -> Tensor:
        """Causal self-attention [batch, places, width] -> the same shape."""
        queries, keys, values = (
            self._linear(x, f"{layer}.self_attn.{part}_proj").reshape(*x.shape[:2], -1, HEAD_WIDTH)
            for part in "qkv"
        )
        cosines, sines = torch.from_numpy(rotations(x.shape[1]))[:, :, None]
        queries, keys = (_turned(each, cosines, sines) for each in (queries, keys))
        queries, keys, values = (each.transpose(1, 2) for each in (queries, keys, values))
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self._linear(mixed.transpose(1, 2).flatten(2), f"{layer}.self_attn.o_proj")


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary positions: [batch, places, heads, 128], the halves of a head are a pair's parts."""
    left, right = x.chunk(2, dim=-1)
    turned = left * cosines - right * sines, right * cosines + left * sines
    return torch.cat(turned, dim=-1)
