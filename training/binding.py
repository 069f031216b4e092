"""Which colour and side belong to which thing: what the text encoder must know at each noun.

Trained on pictures alone, the encoder stayed a bag of words: "a yellow house, a blue balloon" was
drawn either way, and 15,000 steps did not change it (NOTES.md). Two things did, within 300 steps of
captions alone: heads that begin by looking a fixed number of words back or on, and a loss at the
nouns themselves, one hop from the words that belong to them.
"""

from __future__ import annotations

import torch
from rowcast_server.models.text import WORD_START, TextTokenizer
from rowcast_server.network.dalle_bart import HEAD_WIDTH, DalleBartEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from training.train_classifier import HEADS

# What a noun's state must tell. Both words for a house stand in its phrase.
NOUNS: dict[str, tuple[str, ...]] = {
    "house": ("house", "house side"),
    "walls": ("house", "house side"),
    "balloon": ("balloon", "balloon side"),
    "sail": ("sail",),
    "sun": ("body side",),
    "moon": ("body side",),
}
# Words away from a noun: its colour before it, its side after it, and the noun from the side.
OFFSETS = (-1, 3, -3)
HIGHEST_RATE = 3.0  # radians a position: neighbours are well apart
SHARPNESS = 1.3


def look_around(encoder: DalleBartEncoder) -> None:
    """Positions as sines and cosines, and heads of the first layer that look OFFSETS away.

    Turned by offset x rate, the waves of a position are those of the position it looks at; so a
    query that is turned meets its key there.
    """
    positions, width = encoder.embed_positions.weight.shape
    rates = torch.linspace(0.02, HIGHEST_RATE, width // 2)
    angles = torch.arange(positions)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # [positions, width]
    attention = encoder.layers[0].self_attn
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


def noun_sites(tokenizer: TextTokenizer) -> Tensor:
    """For each text id, which kinds of attribute its state must tell: bool [vocabulary, heads]."""
    kinds = list(HEADS)
    sites = torch.zeros(len(tokenizer.vocab), len(kinds), dtype=torch.bool)
    for piece, index in tokenizer.vocab.items():
        if piece.startswith(WORD_START):
            for kind in NOUNS.get(piece.removeprefix(WORD_START).rstrip(","), ()):
                sites[index, kinds.index(kind)] = True
    return sites


def binding_loss(logits: Tensor, text: Tensor, sites: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at the nouns, summed over kinds, a caption.

    ``logits`` [batch, words, attributes] are read off the encoder's states of ``text``
    [batch, words]; ``targets`` [batch, heads] are the captions', -100 where nothing is named.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    parts = logits.float().split([len(values) for values in HEADS.values()], dim=-1)
    here = sites[text]  # [batch, words, heads]
    for kind, (part, target) in enumerate(zip(parts, targets.unbind(dim=1), strict=True)):
        at = here[:, :, kind]
        wanted = target[:, None].expand(at.shape)[at]
        total = total + F.cross_entropy(part[at], wanted, ignore_index=-100, reduction="sum")
    return total / len(text)


def attribute_reader(width: int) -> nn.Module:
    """Training-only: reads attributes off a state."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, sum(len(values) for values in HEADS.values()))
    )
