"""Drawing token grids with the plain torch modules: the slow reference that evaluation can use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rowcast_server.models.text import TextTokenizer
from rowcast_server.network.dalle_bart import DalleBartDecoder, DalleBartEncoder, text_mask
from rowcast_server.network.facts import UNCONDITIONAL
from torch import Tensor


@dataclass(frozen=True)
class SamplingOptions:
    """temperature > 0; top_k >= 1; guidance s draws from u + s (c - u)."""

    temperature: float = 1.0
    top_k: int = 64
    guidance: float = 4.0


@torch.no_grad()
def sample_grids(
    encoder: DalleBartEncoder,
    decoder: DalleBartDecoder,
    text: Tensor,
    start_token: int,
    options: SamplingOptions,
    seed: int,
) -> Tensor:
    """Text ids [batch, n] -> sampled ids [batch, positions], conditioned and free side by side."""
    generator = torch.Generator().manual_seed(seed)
    batch = text.shape[0]
    free = torch.tensor(UNCONDITIONAL[: text.shape[1]]).expand_as(text)
    pair = torch.cat([text, free])
    cache = decoder.start(encoder(pair), text_mask(pair))
    previous = torch.full((batch,), start_token)
    drawn = []
    for _ in range(decoder.shape.positions):
        conditioned, unconditioned = decoder.step(previous.repeat(2), cache).float().chunk(2)
        logits = unconditioned + options.guidance * (conditioned - unconditioned)
        threshold = logits.topk(min(options.top_k, logits.shape[1])).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf) / options.temperature
        previous = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
        drawn.append(previous)
    return torch.stack(drawn, dim=1)


def sample_prompts(
    encoder: DalleBartEncoder,
    decoder: DalleBartDecoder,
    tokenizer: TextTokenizer,
    prompts: Sequence[str],
    start_token: int,
    options: SamplingOptions,
    seed: int = 0,
    batch: int = 50,
    on_progress: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """Token grids int64 [prompts, 256], `batch` prompts at a time."""
    parts = []
    for start in range(0, len(prompts), batch):
        encoded = [tokenizer.encode(prompt) for prompt in prompts[start : start + batch]]
        length = max(text.length for text in encoded)
        text = torch.from_numpy(np.stack([text.ids[:length] for text in encoded]))
        parts.append(sample_grids(encoder, decoder, text, start_token, options, seed + start))
        on_progress(len(encoded))
    return torch.cat(parts)
