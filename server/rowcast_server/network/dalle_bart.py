"""The DALL-E Mini transformer in torch: text ids to encoder states, image ids to logits.

Architecture and key names are those of min-dalle (a port of dalle-mini's `DalleBart`): attention
between two LayerNorms, gated linear units with LayerNorms inside, no biases in linear layers,
learnt positions, heads of width 64. Every size follows from the shapes of a state dict, so Mini,
Mega and postcard are the same code.

This is the plain reference that faster runners must agree with, and the module that training uses.
It must not know about guidance, sampling, files or requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .facts import HEAD_WIDTH, PAD, TransformerShape


class Attention(nn.Module):
    """Multi-head attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def split(self, states: Tensor) -> Tensor:
        """[batch, positions, width] -> [batch, heads, positions, 64]."""
        batch, positions, _ = states.shape
        return states.reshape(batch, positions, self.heads, HEAD_WIDTH).transpose(1, 2)

    def forward(
        self, states: Tensor, others: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from `states` [batch, n, width] to `others` [batch, positions, width]; mask True
        means attend."""
        queries = self.split(self.q_proj(states))
        keys, values = self.split(self.k_proj(others)), self.split(self.v_proj(others))
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=causal
        )
        output: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return output


class GatedLinearUnit(nn.Module):
    """fc2(ln1(gelu(fc0 x) * fc1 x)) of x = ln0(input); gelu is the exact one."""

    def __init__(self, width: int, glu_width: int) -> None:
        super().__init__()
        self.ln0 = nn.LayerNorm(width)
        self.ln1 = nn.LayerNorm(glu_width)
        self.fc0 = nn.Linear(width, glu_width, bias=False)
        self.fc1 = nn.Linear(width, glu_width, bias=False)
        self.fc2 = nn.Linear(glu_width, width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        normed = self.ln0(states)
        gated = self.ln1(F.gelu(self.fc0(normed)) * self.fc1(normed))
        output: Tensor = self.fc2(gated)
        return output


class EncoderLayer(nn.Module):
    """Self-attention and a gated linear unit, each added to its input."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.pre_self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.self_attn = Attention(shape.width)
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.glu = GatedLinearUnit(shape.width, shape.glu_width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [batch, positions, width], mask [batch, 1, 1, positions] -> states."""
        normed = self.pre_self_attn_layer_norm(states)
        states = states + self.self_attn_layer_norm(self.self_attn(normed, normed, mask))
        output: Tensor = states + self.glu(states)
        return output


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, gated linear unit, each added."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.pre_self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.self_attn = Attention(shape.width)
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.pre_encoder_attn_layer_norm = nn.LayerNorm(shape.width)
        self.encoder_attn = Attention(shape.width)
        self.encoder_attn_layer_norm = nn.LayerNorm(shape.width)
        self.glu = GatedLinearUnit(shape.width, shape.glu_width)

    def forward(self, states: Tensor, encoder_state: Tensor, mask: Tensor) -> Tensor:
        """States [batch, n, width], of the encoder [batch, text, width], mask [batch, 1, 1, text]
        -> states."""
        normed = self.pre_self_attn_layer_norm(states)
        states = states + self.self_attn_layer_norm(self.self_attn(normed, normed, causal=True))
        normed = self.pre_encoder_attn_layer_norm(states)
        attended = self.encoder_attn(normed, encoder_state, mask)
        states = states + self.encoder_attn_layer_norm(attended)
        output: Tensor = states + self.glu(states)
        return output


class _Transformer(nn.Module):
    """The base of encoder and decoder: embeddings, norms, loading."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.embed_positions = nn.Embedding(shape.positions, shape.width)
        self.layernorm_embedding = nn.LayerNorm(shape.width)
        self.final_ln = nn.LayerNorm(shape.width)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """A float32 module in eval mode. LayerNorm scales that the files leave out are 1.

        Raises KeyError or RuntimeError if other keys are missing, unknown or of unfitting shapes.
        """
        module = cls(TransformerShape.of(state))
        complete = {key: value.float() for key, value in state.items()}
        for name, part in module.named_modules():
            if isinstance(part, nn.LayerNorm) and f"{name}.bias" in complete:
                complete.setdefault(f"{name}.weight", torch.ones(part.normalized_shape))
        module.load_state_dict(complete)
        return module.eval()

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [batch, n] at positions 0 … n - 1 -> states [batch, n, width]."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        states = self.embed_tokens(ids) + self.embed_positions(positions)
        normed: Tensor = self.layernorm_embedding(states)
        return normed


class DalleBartEncoder(_Transformer):
    """Text ids to the states that the decoder attends to."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__(shape)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))

    def forward(self, ids: Tensor) -> Tensor:
        """int64 ids [batch, n], n <= 64, padded with 1 -> float states [batch, n, width]."""
        mask = text_mask(ids)
        states = self.embed(ids)
        for layer in self.layers:
            states = layer(states, mask)
        output: Tensor = self.final_ln(states)
        return output


class DalleBartDecoder(_Transformer):
    """Image ids so far and encoder states to logits of the next id."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__(shape)
        self.layers = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.layers))
        self.lm_head = nn.Linear(shape.width, shape.outputs, bias=False)

    def forward(self, previous: Tensor, encoder_state: Tensor, mask: Tensor) -> Tensor:
        """Teacher-forced logits of every position in one pass.

        `previous` int64 [batch, n] begins with the start token and then holds ids 0 … n - 2;
        `encoder_state` [batch, text, width]; `mask` from `text_mask`. -> [batch, n, outputs].
        """
        states = self.embed(previous)
        for layer in self.layers:
            states = layer(states, encoder_state, mask)
        logits: Tensor = self.lm_head(self.final_ln(states))
        return logits


def text_mask(ids: Tensor) -> Tensor:
    """Text ids [batch, n] -> bool [batch, 1, 1, n], True where there is no padding."""
    return ids.ne(PAD)[:, None, None, :]
