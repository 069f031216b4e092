"""What belongs to what: nouns are found in captions, and the loss counts them alone."""

from __future__ import annotations

import pytest
import torch
from rowcast_server.models.text import TextTokenizer

from training.attributes import HEADS
from training.reading import NOUNS, binding_loss, noun_sites

KINDS = list(HEADS)


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_of_a_caption_is_a_site(tokenizer: TextTokenizer, noun: str) -> None:
    sites = noun_sites(tokenizer)
    ids = torch.from_numpy(tokenizer.encode(f"a red {noun}, on the left").ids)
    told = {KINDS[kind] for kind in sites[ids].any(dim=0).nonzero().flatten().tolist()}
    assert told == set(NOUNS[noun])


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
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=2) > 0).sum() == 1
