"""Where the transformer starts: positions apart, and heads that look where they should."""

from __future__ import annotations

import torch
from rowcast_server.network.dalle_bart import DalleBartEncoder, EncoderLayer
from rowcast_server.network.facts import HEAD_WIDTH, TransformerShape

from training.transformer import OFFSETS, grid_waves, look_around


def test_positions_start_apart() -> None:
    waves = grid_waves(16, 256)
    assert waves.shape == (256, 256)
    assert len(torch.unique(waves, dim=0)) == 256


def test_heads_look_a_fixed_number_of_words_away() -> None:
    torch.manual_seed(0)
    encoder = DalleBartEncoder(TransformerShape(50, 64, width=256, glu_width=64, layers=1))
    look_around(encoder)
    states = encoder.embed_positions.weight / encoder.embed_positions.weight.std()
    first = encoder.layers[0]
    assert isinstance(first, EncoderLayer)
    attention = first.self_attn
    queries, keys = attention.q_proj(states), attention.k_proj(states)
    for head, offset in enumerate(OFFSETS):
        part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = queries[:, part] @ keys[:, part].T
        looked_at = scores.argmax(dim=1)
        inside = range(max(0, -offset), 64 - max(0, offset))
        assert [int(looked_at[place]) for place in inside] == [place + offset for place in inside]
