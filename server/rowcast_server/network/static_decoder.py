"""DalleBart's decoder over a static KV cache: every shape is known before the first token.

The fast path of `dalle_bart.py`, which is its reference. Each row of a batch is at a position of
its own; nothing here depends on values, so a step can be captured as a CUDA graph. Products of the
same input are one product. It must not know about sampling, slots or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from .device_weights import fill_from, read
from .facts import HEAD_WIDTH, LAYER_NORM_EPSILON, TEXT_POSITIONS, Weights, layer_count
from .tensors import shape_of

NEVER: Final = float("-inf")
Pass = Callable[..., Tensor]
Attended = tuple[Tensor, Tensor, Tensor]  # keys, values, and the bias of attention to them


@dataclass
class DecoderMemory:
    """The KV cache of rows of a batch: of their own tokens, and of the text that they attend to.

    A view of some rows shares the tensors of the whole.
    """

    keys: Tensor  # [layers, rows, heads, positions, 64]
    values: Tensor  # [layers, rows, heads, positions, 64]
    cross: Tensor  # [layers, 2, rows, heads, text, 64]: keys and values of the text
    text_bias: Tensor  # [rows, 1, 1, text]: 0 or -inf

    def rows(self, first: int, end: int) -> DecoderMemory:
        return DecoderMemory(
            self.keys[:, first:end],
            self.values[:, first:end],
            self.cross[:, :, first:end],
            self.text_bias[first:end],
        )

    def copy_from(self, other: DecoderMemory) -> None:
        self.keys.copy_(other.keys)
        self.values.copy_(other.values)
        self.cross.copy_(other.cross)
        self.text_bias.copy_(other.text_bias)

    def forget(self) -> None:
        """Zero the cache. Masks hide stale positions, but 0 × NaN is NaN."""
        self.keys.zero_()
        self.values.zero_()


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, LAYER_NORM_EPSILON)


@dataclass(frozen=True)
class _Layer:
    before_self: _Norm
    self_in: Tensor  # [3 width, width]: queries, keys, values
    self_out: Tensor
    after_self: _Norm
    before_cross: _Norm
    cross_queries: Tensor
    cross_out: Tensor
    after_cross: _Norm
    before_glu: _Norm
    glu_in: Tensor  # [2 glu width, width]: what passes through GELU, what it is multiplied by
    inside_glu: _Norm
    glu_out: Tensor


class StaticDecoder:
    """The decoder's weights on a device, and its pass over a batch.

    ``dtype`` is that of weights, caches and products. The residual stream, the norms that read it,
    and ``lm_head`` are float32: guidance multiplies the difference of two states, so less of it
    should be rounding; and float16 cannot overflow where all layers are summed.

    ``fused`` gives the same work in fewer kernels, if that can be had; a token's pass through a
    layer is such work. Raises KeyError where a tensor is missing.
    """

    def __init__(
        self,
        weights: Weights,
        codebook_size: int,
        device: torch.device,
        dtype: torch.dtype,
        fused: Callable[[Pass], Pass] = lambda work: work,
    ) -> None:
        self._weights, self._device, self.dtype = weights, device, dtype
        self.positions, self.width = shape_of(weights, "embed_positions.weight")
        self.heads = self.width // HEAD_WIDTH
        self.layers = layer_count(weights)
        self._embed_tokens = self._read("embed_tokens")
        self._embed_positions = self._read("embed_positions")
        self._embed_norm = self._norm("layernorm_embedding", torch.float32)
        # One product gives all layers' keys and values of a text.
        self._cross = torch.empty(
            (self.layers * 2 * self.width, self.width), dtype=dtype, device=device
        )
        self._layers = [self._layer(number) for number in range(self.layers)]
        self._last_norm = self._norm("final_ln", torch.float32)
        self._head = read(weights, "lm_head.weight", device, torch.float32, rows=codebook_size)
        self._places = torch.arange(self.positions, device=device)
        self._pass_one = fused(_pass_layer)
        del self._weights  # the file can be closed

    def _read(self, name: str) -> Tensor:
        return read(self._weights, f"{name}.weight", self._device, self.dtype)

    def _norm(self, name: str, dtype: torch.dtype | None = None) -> _Norm:
        """A LayerNorm; a scale that the file leaves out is 1."""
        bias = read(self._weights, f"{name}.bias", self._device, dtype or self.dtype)
        weight = torch.ones_like(bias)
        if f"{name}.weight" in self._weights:
            fill_from(weight, self._weights, f"{name}.weight")
        return _Norm(weight, bias)

    def _together(self, *names: str) -> Tensor:
        """Weights [out, in] of the same input, one below the other."""
        height, width = shape_of(self._weights, f"{names[0]}.weight")
        together = torch.empty((len(names) * height, width), dtype=self.dtype, device=self._device)
        for part, name in zip(together.chunk(len(names)), names, strict=True):
            fill_from(part, self._weights, f"{name}.weight")
        return together

    def _layer(self, number: int) -> _Layer:
        name = f"layers.{number}"
        own, cross, glu = f"{name}.self_attn", f"{name}.encoder_attn", f"{name}.glu"
        parts = self._cross.view(self.layers, 2, self.width, self.width)[number]
        fill_from(parts[0], self._weights, f"{cross}.k_proj.weight")
        fill_from(parts[1], self._weights, f"{cross}.v_proj.weight")
        return _Layer(
            before_self=self._norm(f"{name}.pre_self_attn_layer_norm", torch.float32),
            self_in=self._together(f"{own}.q_proj", f"{own}.k_proj", f"{own}.v_proj"),
            self_out=self._read(f"{own}.out_proj"),
            after_self=self._norm(f"{name}.self_attn_layer_norm"),
            before_cross=self._norm(f"{name}.pre_encoder_attn_layer_norm", torch.float32),
            cross_queries=self._read(f"{cross}.q_proj"),
            cross_out=self._read(f"{cross}.out_proj"),
            after_cross=self._norm(f"{name}.encoder_attn_layer_norm"),
            before_glu=self._norm(f"{glu}.ln0", torch.float32),
            glu_in=self._together(f"{glu}.fc0", f"{glu}.fc1"),
            inside_glu=self._norm(f"{glu}.ln1"),
            glu_out=self._read(f"{glu}.fc2"),
        )

    def memory(self, rows: int) -> DecoderMemory:
        """Empty caches of ``rows`` rows."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=self.dtype, device=self._device)

        own = (self.layers, rows, self.heads, self.positions, HEAD_WIDTH)
        return DecoderMemory(
            keys=zeros(*own),
            values=zeros(*own),
            cross=zeros(self.layers, 2, rows, self.heads, TEXT_POSITIONS, HEAD_WIDTH),
            text_bias=zeros(rows, 1, 1, TEXT_POSITIONS),
        )

    def read_text(self, states: Tensor) -> Tensor:
        """The encoder's states [text, width] -> keys and values [layers, 2, heads, text, 64]."""
        products = F.linear(states, self._cross)
        split = products.view(-1, self.layers, 2, self.heads, HEAD_WIDTH)
        return split.permute(1, 2, 3, 0, 4)

    def bias(self, attended: Tensor) -> Tensor:
        """The attention bias of a mask: 0 where ``attended``, else -inf."""
        zeros = torch.zeros(attended.shape, dtype=self.dtype, device=attended.device)
        return zeros.masked_fill(~attended, NEVER)

    def feed(self, tokens: Tensor, positions: Tensor, memory: DecoderMemory) -> Tensor:
        """Feed ids [rows, n] at positions [rows, n] and cache them -> float32 states [rows, n,
        width], of which `guided_logits` makes logits.

        A row attends to its positions up to each token's own; those before must be cached.
        """
        numbers = torch.arange(len(tokens), device=self._device)[:, None]
        bias = self.bias(self._places <= positions[..., None])[:, None]  # [rows, 1, n, positions]
        x = F.embedding(tokens, self._embed_tokens) + F.embedding(positions, self._embed_positions)
        x = self._embed_norm(x.float())
        pass_layer = self._pass_one if tokens.shape[1] == 1 else _pass_layer
        for number, layer in enumerate(self._layers):
            own = memory.keys[number], memory.values[number], bias
            keys, values = memory.cross[number].unbind()
            text = keys, values, memory.text_bias
            x = pass_layer(layer, x, own, text, numbers, positions)
        return x

    def guided_logits(self, states: Tensor, guidance: Tensor) -> Tensor:
        """Classifier-free guidance: states of pairs of rows, conditional and unconditional, [2
        pictures, width], and guidance s [pictures] -> float32 logits [pictures, codebook_size].

        lm_head is linear, so its product of u + s (c - u) is the guided logits, for half the work.
        """
        pairs = self._last_norm(states).view(-1, 2, self.width)
        conditional, unconditional = pairs.unbind(1)
        guided = unconditional + guidance[:, None] * (conditional - unconditional)
        return F.linear(guided, self._head)


def _pass_layer(
    layer: _Layer, x: Tensor, own: Attended, text: Attended, numbers: Tensor, positions: Tensor
) -> Tensor:
    """States [rows, n, width] through a layer; their keys and values are put where they belong in
    ``own``, by numbers of rows [rows, 1] and positions [rows, n]."""
    keys, values, bias = own
    projected = F.linear(layer.before_self(x).to(keys.dtype), layer.self_in)
    queries, new_keys, new_values = _split(projected, 3)
    keys[numbers, :, positions] = new_keys
    values[numbers, :, positions] = new_values
    attended = _attend(queries, keys, values, bias)
    x = x + layer.after_self(F.linear(attended, layer.self_out))

    normed = layer.before_cross(x).to(keys.dtype)
    (queries,) = _split(F.linear(normed, layer.cross_queries), 1)
    x = x + layer.after_cross(F.linear(_attend(queries, *text), layer.cross_out))

    normed = layer.before_glu(x).to(keys.dtype)
    gate, factor = F.linear(normed, layer.glu_in).chunk(2, dim=-1)
    return x + F.linear(layer.inside_glu(F.gelu(gate) * factor), layer.glu_out)


def _split(projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """[rows, n, parts * width] -> ``parts`` tensors [rows, n, heads, 64]."""
    rows, count, _ = projected.shape
    return projected.view(rows, count, parts, -1, HEAD_WIDTH).unbind(2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Queries [rows, n, heads, 64] -> [rows, n, width]."""
    mixed = F.scaled_dot_product_attention(queries.transpose(1, 2), keys, values, bias)
    return mixed.transpose(1, 2).flatten(2)
