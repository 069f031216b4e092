"""Transformer: postcard's encoder and decoder as one trainable module, and its initial weights.

Rows of the token tables are learnt as a free part plus a part shared by all codes with the same
lattice digit, since near codes look alike; what ships is their sum.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from rowcast_server.network.dalle_bart import (
    DalleBartDecoder,
    DalleBartEncoder,
    EncoderLayer,
    text_mask,
)
from rowcast_server.network.facts import HEAD_WIDTH, TransformerShape
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from training.networks import CODEBOOK_SIZE, DIMENSIONS, LEVELS, code_digits

SIDE = 16  # tokens, of a grid
START_TOKEN = CODEBOOK_SIZE
READ_AFTER = 1  # the decoder layer whose states must say what the caption names
# Words away from a noun: its colour before it, its side after it, and the noun from the side.
OFFSETS = (-1, 3, -3)
HIGHEST_RATE = 3.0  # radians a position: neighbours are well apart
SHARPNESS = 1.3


def shapes(vocabulary: int) -> tuple[TransformerShape, TransformerShape]:
    """Shapes of encoder and decoder: 7.1 million parameters together."""
    encoder = TransformerShape(vocabulary, positions=64, width=256, glu_width=384, layers=2)
    decoder = TransformerShape(
        CODEBOOK_SIZE + 1, SIDE * SIDE, width=256, glu_width=512, layers=5, outputs=CODEBOOK_SIZE
    )
    return encoder, decoder


class DigitTable(nn.Module):
    """Adds to each row of a token table the sum of the vectors of its code's four digits."""

    hot: Tensor  # [rows, dimensions x levels], 1 at the digits of a row's code

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        hot = torch.zeros(rows, DIMENSIONS * LEVELS)
        hot[:CODEBOOK_SIZE] = F.one_hot(code_digits(), LEVELS).flatten(1)
        self.register_buffer("hot", hot, persistent=False)
        self.digits = nn.Parameter(torch.randn(DIMENSIONS * LEVELS, width) * 0.02)

    def forward(self, free: Tensor) -> Tensor:
        """Free rows [rows, width] -> whole rows [rows, width]."""
        return free + self.hot @ self.digits


class CaptionToTokens(nn.Module):
    """Encoder and decoder as one trainable module."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        encoder_shape, decoder_shape = shapes(vocabulary)
        self.encoder = DalleBartEncoder(encoder_shape)
        self.decoder = DalleBartDecoder(decoder_shape)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)
        nn.init.normal_(self.decoder.lm_head.weight, std=0.02)
        look_around(self.encoder)
        with torch.no_grad():
            self.decoder.embed_positions.weight.copy_(0.07 * grid_waves(SIDE, encoder_shape.width))
        for table in (self.decoder.embed_tokens, self.decoder.lm_head):
            rows, width = table.weight.shape
            parametrize.register_parametrization(table, "weight", DigitTable(rows, width))

    def forward(
        self,
        text: Tensor,
        tokens: Tensor,
        readers: nn.ModuleList | None = None,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Mean cross-entropy in nats, [batch], of tokens [batch, 256] given text ids [batch, n].

        Where `hidden` [batch, 256] is true the decoder does not see the token before. With
        `readers`, also their logits: [batch, attributes] of the encoder's state of `<s>`,
        [batch, 256, attributes] of the decoder's states after the layer READ_AFTER, and
        [batch, n, attributes] of all of the encoder's states.
        """
        start = torch.full_like(tokens[:, :1], START_TOKEN)
        previous = torch.cat([start, tokens[:, :-1]], dim=1)
        if hidden is not None:
            previous = previous.masked_fill(hidden, START_TOKEN)
        states = self.decoder.embed(previous)
        memory, mask = self.encoder(text), text_mask(text)
        read: tuple[Tensor, ...] = ()
        for index, layer in enumerate(self.decoder.layers):
            states = layer(states, memory, mask)
            if readers is not None and index == READ_AFTER:
                read = (readers[0](memory[:, 0]), readers[1](states), readers[2](memory))
        logits = self.decoder.lm_head(self.decoder.final_ln(states))
        losses = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
        return losses.reshape(tokens.shape).mean(dim=1), read

    def plain_state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """State dicts of encoder and decoder under their plain names."""
        state = self.decoder.state_dict()
        decoder = {key: value for key, value in state.items() if "parametrizations" not in key}
        decoder["embed_tokens.weight"] = self.decoder.embed_tokens.weight.detach()
        decoder["lm_head.weight"] = self.decoder.lm_head.weight.detach()
        return dict(self.encoder.state_dict()), decoder


def grid_waves(side: int, width: int) -> Tensor:
    """Position embeddings to start from: sines and cosines of row and column, [side^2, width]."""
    quarter = width // 4
    rates = math.pi / 2 * torch.exp(-math.log(64.0) * torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * rates[None, :]
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width / 2]
    rows = waves[:, None, :].expand(side, side, -1)
    cols = waves[None, :, :].expand(side, side, -1)
    return torch.cat([rows, cols], dim=2).flatten(0, 1)


def look_around(encoder: DalleBartEncoder) -> None:
    """Start the positions as sines and cosines, and first-layer heads that look OFFSETS away.

    Turned by offset x rate, the waves of a position are those of the position it looks at; so a
    query that is turned meets its key there.
    """
    positions, width = encoder.embed_positions.weight.shape
    rates = torch.linspace(0.02, HIGHEST_RATE, width // 2)
    angles = torch.arange(positions)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # [positions, width]
    attention = cast(EncoderLayer, encoder.layers[0]).self_attn
    chosen = torch.linspace(0, width // 2 - 1, HEAD_WIDTH // 2).round().long()
    even, odd = torch.arange(0, HEAD_WIDTH, 2), torch.arange(1, HEAD_WIDTH, 2)
    with torch.no_grad():
        encoder.embed_positions.weight.copy_(waves * encoder.embed_tokens.weight.std() * 2**0.5)
        key = torch.zeros(HEAD_WIDTH, width)
        key[even, chosen] = key[odd, width // 2 + chosen] = SHARPNESS
        for head, offset in enumerate(OFFSETS):
            sine, cosine = (rates[chosen] * offset).sin(), (rates[chosen] * offset).cos()
            query = torch.zeros(HEAD_WIDTH, width)
            query[even, chosen] = cosine * SHARPNESS
            query[even, width // 2 + chosen] = sine * SHARPNESS
            query[odd, width // 2 + chosen] = cosine * SHARPNESS
            query[odd, chosen] = -sine * SHARPNESS
            rows = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            attention.q_proj.weight[rows] = query
            attention.k_proj.weight[rows] = key
