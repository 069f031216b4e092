"""Janus on the torch runner: the network over a static cache, and texts in its first places.

The fast path of reference.py. The residual stream, the norms that read it and the head are float32:
guidance multiplies the difference of two states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...network.device_weights import fill_from, read
from ...network.facts import STREAMS, Network
from ...network.static_decoder import NEVER, Pass
from ...network.tensors import shape_of
from ..torch_slots import TorchSlots, Upload
from .sizes import (
    ALIGNER,
    EMBED_CODES,
    EMBED_TEXT,
    HEAD,
    HEAD_WIDTH,
    LAST_NORM,
    REMEMBERED_STREAMS,
    RMS_NORM_EPSILON,
    TEXT_PLACES,
    JanusSizes,
    rotations,
)


@dataclass(frozen=True)
class _Layer:
    before: Tensor  # scales of the norms
    inner: Tensor
    attend_in: Tensor  # [3 width, width]: queries, keys, values
    attend_out: Tensor
    ffn_in: Tensor  # [2 ffn width, width]: gate, up
    ffn_out: Tensor


class JanusTorchSlots(TorchSlots):
    """``dtype`` is that of weights, caches and products; memory is taken here.

    Caches are keys and values [layers, rows, heads, places, 128].
    """

    def __init__(
        self,
        network: Network,
        slots: int,
        device: torch.device,
        dtype: torch.dtype,
        upload: Upload,
        fused: Callable[[Pass], Pass],
    ) -> None:
        assert network.specials is not None, "a Janus network is loaded with its special tokens"
        self._specials = network.specials
        self._weights, self._device, self._dtype = network.decoder, device, dtype
        self._upload = upload
        self._sizes = JanusSizes.of(network.decoder)
        self.positions = network.grid.tokens
        self._places = torch.arange(TEXT_PLACES - 1 + self.positions, device=device)
        self._turns = torch.from_numpy(rotations(len(self._places))).to(device)
        self._table = self._input_table()
        self._layers = [self._layer(number) for number in range(self._sizes.layers)]
        self._last_norm = self._read(LAST_NORM, torch.float32)
        self._head = [
            (self._read(f"{name}.weight", torch.float32), self._read(f"{name}.bias", torch.float32))
            for name in HEAD
        ]
        self._first_text = self._sizes.codes + 1
        self.memory = self._caches(STREAMS * slots)
        self._scratch = self._caches(1)
        self._offsets = torch.zeros(STREAMS * slots, dtype=torch.int64, device=device)
        self._remembered = lru_cache(REMEMBERED_STREAMS)(self._prefill)
        self._pass_one = fused(_pass_layer)
        del self._weights  # the file can be closed

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        return read(self._weights, name, self._device, dtype)

    def _input_table(self) -> Tensor:
        """What a token is fed as [codes + 1 + vocabulary, width]: the codes through the aligner,
        the begin-of-image token, the text's tokens."""
        codes, vocabulary = self._sizes.codes, self._sizes.vocabulary
        shape = codes + 1 + vocabulary, self._sizes.width
        table = torch.empty(shape, dtype=self._dtype, device=self._device)
        x = self._read(EMBED_CODES, torch.float32)
        for number, name in enumerate(ALIGNER):
            weight, bias = (
                self._read(f"{name}.{part}", torch.float32) for part in ("weight", "bias")
            )
            x = F.linear(F.gelu(x) if number else x, weight, bias)
        table[:codes] = x
        fill_from(table[codes + 1 :], self._weights, EMBED_TEXT)
        table[codes] = table[codes + 1 + self._specials.begin_of_image]
        return table

    def _together(self, *names: str) -> Tensor:
        """Weights [out, in] of the same input, one below the other."""
        height, width = shape_of(self._weights, f"{names[0]}.weight")
        together = torch.empty((len(names) * height, width), dtype=self._dtype, device=self._device)
        for part, name in zip(together.chunk(len(names)), names, strict=True):
            fill_from(part, self._weights, f"{name}.weight")
        return together

    def _layer(self, number: int) -> _Layer:
        name = f"layers.{number}"
        return _Layer(
            before=self._read(f"{name}.input_layernorm.weight", torch.float32),
            inner=self._read(f"{name}.post_attention_layernorm.weight", torch.float32),
            attend_in=self._together(*(f"{name}.self_attn.{part}_proj" for part in "qkv")),
            attend_out=self._read(f"{name}.self_attn.o_proj.weight", self._dtype),
            ffn_in=self._together(*(f"{name}.mlp.{part}_proj" for part in ("gate", "up"))),
            ffn_out=self._read(f"{name}.mlp.down_proj.weight", self._dtype),
        )

    def _caches(self, rows: int) -> Tensor:
        """[2, layers, rows, heads, places, 128]: keys and values."""
        sizes = self._sizes
        shape = 2, sizes.layers, rows, sizes.heads, len(self._places), HEAD_WIDTH
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def read(self, slot: int, text_ids: tuple[int, ...]) -> None:
        length = len(text_ids) - 1
        for stream, ids in enumerate((text_ids, self._specials.without_text(text_ids))):
            self.memory[:, :, STREAMS * slot + stream, :, :length] = self._remembered(ids[:-1])
        self._upload(np.full(STREAMS, length), self._offsets[STREAMS * slot : STREAMS * slot + 2])

    def _prefill(self, ids: tuple[int, ...]) -> Tensor:
        """The caches of one stream after these tokens, [2, layers, heads, tokens, 128].

        All pictures of a prompt share them, and all prompts of a length the unconditional ones.
        """
        self._scratch.zero_()
        tokens = torch.zeros((1, len(ids)), dtype=torch.int64, device=self._device)
        self._upload(np.array([ids], np.int64) + self._first_text, tokens)
        self._pass(tokens, self._places[None, : len(ids)], self._scratch)
        return self._scratch[:, :, 0, :, : len(ids)].clone()

    def forget(self, slot: int) -> None:
        self.memory[:, :, STREAMS * slot : STREAMS * slot + STREAMS].zero_()

    def feed(self, tokens: Tensor, positions: Tensor, first: int) -> Tensor:
        rows = slice(first, first + len(tokens))
        return self._pass(tokens, positions + self._offsets[rows, None], self.memory[:, :, rows])

    def _pass(self, tokens: Tensor, places: Tensor, caches: Tensor) -> Tensor:
        """Rows of the input table [rows, n] at places [rows, n] -> float32 states [rows, n,
        width]."""
        numbers = torch.arange(len(tokens), device=self._device)[:, None]
        seen = self._places <= places[..., None]  # [rows, n, places]
        bias = torch.zeros(seen.shape, dtype=self._dtype, device=self._device)
        bias = bias.masked_fill(~seen, NEVER)[:, None]
        turns = self._turns[:, places][..., None, :]  # [2, rows, n, 1, 64]
        x = F.embedding(tokens, self._table).float()
        pass_layer = self._pass_one if tokens.shape[1] == 1 else _pass_layer
        for number, layer in enumerate(self._layers):
            keys, values = caches[:, number]
            x = pass_layer(layer, x, turns, keys, values, bias, numbers, places)
        return x

    def guided_logits(self, states: Tensor, guidance: Tensor) -> Tensor:
        (inner, inner_bias), (last, last_bias) = self._head
        hidden = F.gelu(F.linear(_norm(states, self._last_norm), inner, inner_bias))
        conditional, unconditional = hidden.view(-1, STREAMS, self._sizes.width).unbind(1)
        guided = unconditional + guidance[:, None] * (conditional - unconditional)
        return F.linear(guided, last, last_bias)  # exact: the bias counts s + (1 - s) times

    def move(self, source: int, destination: int) -> None:
        here, there = (
            slice(STREAMS * slot, STREAMS * slot + STREAMS) for slot in (destination, source)
        )
        self.memory[:, :, here] = self.memory[:, :, there]
        self._offsets[here] = self._offsets[there]


def _norm(x: Tensor, scale: Tensor) -> Tensor:
    return F.rms_norm(x, scale.shape, scale, RMS_NORM_EPSILON)


def _pass_layer(
    layer: _Layer,
    x: Tensor,
    turns: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
    numbers: Tensor,
    places: Tensor,
) -> Tensor:
    """States [rows, n, width] through a layer; their keys and values are put where they belong, by
    numbers of rows [rows, 1] and places [rows, n]."""
    rows, count, _ = x.shape
    projected = F.linear(_norm(x, layer.before).to(keys.dtype), layer.attend_in)
    split = projected.view(rows, count, 3, -1, HEAD_WIDTH)
    queries, new_keys = _turned(split[:, :, 0], turns), _turned(split[:, :, 1], turns)
    keys[numbers, :, places] = new_keys
    values[numbers, :, places] = split[:, :, 2]
    mixed = F.scaled_dot_product_attention(queries.transpose(1, 2), keys, values, bias)
    x = x + F.linear(mixed.transpose(1, 2).flatten(2), layer.attend_out)
    normed = _norm(x, layer.inner).to(keys.dtype)
    gate, up = F.linear(normed, layer.ffn_in).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, layer.ffn_out)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions of [rows, n, heads, 128], computed in float32."""
    left, right = x.float().chunk(2, dim=-1)
    cosines, sines = turns
    turned = left * cosines - right * sines, right * cosines + left * sines
    return torch.cat(turned, dim=-1).to(x.dtype)
