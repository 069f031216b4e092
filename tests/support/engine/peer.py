"""min-dalle 0.4.11 as the peer to agree with, and random checkpoints in its own files.

Its modules are built without its downloads.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rowcast_bench.engine.random_model import (
    CODES,
    IMAGE_TOKENS,
    MEGA,
    MINI,
    TEXT_TOKENS,
    Sizes,
    build,
    write_weights,
)
from rowcast_bench.min_dalle_modules import TextTokenizer
from torch import Tensor

__all__ = ["MEGA", "MINI", "Peer", "Sizes", "TextTokenizer", "make_vocabulary", "write_min_dalle"]

START_TOKEN = 16_383  # what min-dalle feeds first


class Peer:
    """min-dalle's modules with the weights of its files, loaded as it loads them."""

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes = sizes
        self.encoder, self.decoder = build(sizes)
        for module, file in ((self.encoder, "encoder.pt"), (self.decoder, "decoder.pt")):
            state = torch.load(folder / file, weights_only=True)
            result = module.load_state_dict(state, strict=False)
            assert not result.unexpected_keys
            assert all(key.endswith(".weight") and "l" in key for key in result.missing_keys)
        vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
        merges = (folder / "merges.txt").read_text("utf-8").split("\n")[1:-1]
        self.tokenizer = TextTokenizer(vocabulary, merges)

    def text_tokens(self, text: str) -> NDArray[np.int64]:
        """[2, 64]: the unconditional stream and the prompt's, as `generate_raw_image_stream`."""
        tokens = self.tokenizer.tokenize(text)[:TEXT_TOKENS]
        rows = np.ones((2, TEXT_TOKENS), np.int64)
        rows[0, :2] = tokens[0], tokens[-1]
        rows[1, : len(tokens)] = tokens
        return rows

    @torch.no_grad()
    def encode(self, text: str) -> tuple[Tensor, Tensor]:
        """Encoder states [2, 64, width] and the mask."""
        tokens = torch.from_numpy(self.text_tokens(text))
        state: Tensor = self.encoder.forward(tokens)
        return state, tokens.not_equal(1)[:, None, None, :]

    @torch.no_grad()
    def greedy(self, text: str, guidance: float, count: int) -> Iterator[tuple[Any, int]]:
        """For each position the logits of both streams [2, 16384] and the token drawn greedily."""
        state, mask = self.encode(text)
        cache = torch.zeros(self.sizes.layers, 4, IMAGE_TOKENS, self.sizes.width)
        settings = torch.tensor([1.0, 1.0, guidance])  # temperature, top_k
        seen: list[Tensor] = []
        hook = self.decoder.lm_head.register_forward_hook(lambda *call: seen.append(call[2]))
        token = START_TOKEN
        for position in range(count):
            drawn, _ = self.decoder.sample_tokens(
                settings,
                attention_mask=mask,
                encoder_state=state,
                attention_state=cache,
                prev_tokens=torch.tensor([[token]]),
                token_index=torch.tensor([position]),
            )
            token = int(drawn[0])
            yield seen.pop()[:, -1, :CODES].numpy(), token
        hook.remove()


def write_min_dalle(folder: Path, sizes: Sizes, seed: int = 0) -> Path:
    """`encoder.pt`, `decoder.pt` (fp16), `vocab.json` and `merges.txt` of random values.

    Values are scaled so that activations look like a trained model's: attention is neither flat
    nor one-hot, and the residual stream keeps its size.
    """
    folder.mkdir(parents=True)
    write_weights(folder, sizes, seed)
    vocabulary, merges = make_vocabulary(sizes.text_vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    return folder


def make_vocabulary(size: int, seed: int = 0) -> tuple[dict[str, int], list[str]]:
    """At most ``size`` subwords with merges that lead to them, and some that lead nowhere."""
    choose = random.Random(seed)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "Ġ", *string.ascii_lowercase, *"0123456789-_.,'!"]
    known = dict.fromkeys(pieces)
    merges = []
    while len(known) < min(size, 3_000):
        grown = list(known)[4:]
        left, right = choose.choice(grown), choose.choice(grown[1:])
        if len(left + right) > 12 or right.startswith("Ġ"):
            continue
        merges.append(f"{left} {right}")
        if choose.random() < 0.95:  # the others merge into what the vocabulary does not hold
            known[left + right] = None
    return {piece: index for index, piece in enumerate(known)}, merges
