"""Reading heads: training-only classifiers of what a caption names, and their auxiliary losses.

A colour is worth 2 nats in a picture of 180, so the loss of the tokens alone teaches the decoder to
listen to it very late (NOTES.md); heads on the states of encoder and decoder make it listen early.

Trained on pictures alone, the encoder stayed a bag of words: "a yellow house, a blue balloon" was
drawn either way, and 15,000 steps did not change it (NOTES.md). Two things did, within 300 steps of
captions alone: attention that begins by looking a fixed number of words back or on
(`transformer.look_around`), and a loss at the nouns themselves, one hop from the words that belong
to them (`binding_loss`).
"""

from __future__ import annotations

import torch
from rowcast_server.models.text import WORD_START, TextTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from training.attributes import HEADS, SIZES

# What a noun's state must tell. Both words for a house stand in its phrase.
NOUNS: dict[str, tuple[str, ...]] = {
    "house": ("house", "house side"),
    "walls": ("house", "house side"),
    "balloon": ("balloon", "balloon side"),
    "sail": ("sail",),
    "sun": ("body side",),
    "moon": ("body side",),
}


def attribute_reader(width: int) -> nn.Module:
    """One head: states [..., width] to the logits of all kinds of attribute, [..., attributes]."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(SIZES)))


def attribute_readers(width: int) -> nn.ModuleList:
    """Heads for the encoder's first state, the decoder's states, and all of the encoder's."""
    return nn.ModuleList(attribute_reader(width) for _ in range(3))


def reading_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over heads; logits [batch, ..., attributes], targets [batch, heads].

    Targets of -100 (not named by the caption) do not count.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    parts = torch.split(logits.float(), SIZES, dim=-1)
    for part, target in zip(parts, targets.unbind(dim=1), strict=True):
        spread = part.reshape(len(part), -1, part.shape[-1])
        wanted = target[:, None].expand(spread.shape[:2])
        loss = F.cross_entropy(spread.flatten(0, 1), wanted.flatten(), reduction="sum")
        total = total + loss / wanted.numel()
    return total / len(parts)


def noun_sites(tokenizer: TextTokenizer) -> Tensor:
    """The kinds of attribute that each text id's state must tell: bool [vocabulary, heads]."""
    kinds = list(HEADS)
    sites = torch.zeros(len(tokenizer.vocab), len(kinds), dtype=torch.bool)
    for piece, index in tokenizer.vocab.items():
        if piece.startswith(WORD_START):
            for kind in NOUNS.get(piece.removeprefix(WORD_START).rstrip(","), ()):
                sites[index, kinds.index(kind)] = True
    return sites


def binding_loss(logits: Tensor, text: Tensor, sites: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at the nouns, summed over kinds, a caption.

    `logits` [batch, words, attributes] are read off the encoder's states of `text`
    [batch, words]; `targets` [batch, heads] are the captions', -100 where nothing is named.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    parts = torch.split(logits.float(), SIZES, dim=-1)
    here = sites[text]  # [batch, words, heads]
    for kind, (part, target) in enumerate(zip(parts, targets.unbind(dim=1), strict=True)):
        at = here[:, :, kind]
        wanted = target[:, None].expand(at.shape)[at]
        total = total + F.cross_entropy(part[at], wanted, ignore_index=-100, reduction="sum")
    return total / len(text)
