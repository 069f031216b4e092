"""What belongs to what: nouns are found in captions, and heads look where they should."""

from __future__ import annotations

import pytest
import torch
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.dalle_bart import HEAD_WIDTH, DalleBartEncoder, TransformerShape

from training.binding import NOUNS, OFFSETS, binding_loss, look_around, noun_sites
from training.captions import learn_vocabulary, sample_captions
from training.train_classifier import HEADS

KINDS = list(HEADS)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(*learn_vocabulary(sample_captions(1500, 0), 250))


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_of_a_caption_is_a_site(tokenizer: TextTokenizer, noun: str) -> None:
    sites = noun_sites(tokenizer)
    ids = torch.from_numpy(tokenizer.encode(f"a red {noun}, on the left").ids)
    told = {KINDS[kind] for kind in sites[ids].any(dim=0).nonzero().flatten().tolist()}
    assert told == set(NOUNS[noun])


def test_heads_look_a_fixed_number_of_words_away() -> None:
    torch.manual_seed(0)
    encoder = DalleBartEncoder(TransformerShape(50, 64, width=256, glu_width=64, layers=1))
    look_around(encoder)
    states = encoder.embed_positions.weight / encoder.embed_positions.weight.std()
    attention = encoder.layers[0].self_attn
    queries, keys = attention.q_proj(states), attention.k_proj(states)
    for head, offset in enumerate(OFFSETS):
        part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = queries[:, part] @ keys[:, part].T
        looked_at = scores.argmax(dim=1)
        inside = range(max(0, -offset), 64 - max(0, offset))
        assert [int(looked_at[place]) for place in inside] == [place + offset for place in inside]


def test_the_loss_counts_named_kinds_at_nouns_alone(tokenizer: TextTokenizer) -> None:
    sites = noun_sites(tokenizer)
    text = torch.from_numpy(tokenizer.encode("a red house, the sun").ids)[None]
    attributes = sum(len(values) for values in HEADS.values())
    logits = torch.zeros(1, text.shape[1], attributes, requires_grad=True)
    targets = torch.full((1, len(KINDS)), -100)
    assert binding_loss(logits, text, sites, targets) == 0
    targets[0, KINDS.index("house")] = 1
    loss = binding_loss(logits, text, sites, targets)
    assert loss.item() == pytest.approx(torch.log(torch.tensor(len(HEADS["house"]))).item())
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=2) > 0).sum() == 1
