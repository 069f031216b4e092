"""min-dalle 0.4.11 as the peer to agree with, and random checkpoints in its own files.

Its modules are built without its downloads. Importing it changes two of torch's global settings,
which are put back here.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_grad, _threads = torch.is_grad_enabled(), torch.get_num_threads()
from min_dalle.models import DalleBartDecoder, DalleBartEncoder  # noqa: E402
from min_dalle.text_tokenizer import TextTokenizer  # noqa: E402

torch.set_grad_enabled(_grad)
torch.set_num_threads(_threads)

__all__ = ["MEGA", "MINI", "Peer", "Sizes", "TextTokenizer", "make_vocabulary", "write_min_dalle"]

TEXT_TOKENS = 64
IMAGE_TOKENS = 256
CODES = 16_384
START_TOKEN = 16_383  # what min-dalle feeds first
# LayerNorms whose scale the official checkpoints leave out (force_ln_scale is off).
WITHOUT_SCALE = ("pre_self_attn_layer_norm", "pre_encoder_attn_layer_norm", "ln0", "ln1")


@dataclass(frozen=True)
class Sizes:
    """As in min-dalle's own constructor; layers may be fewer than the real model's."""

    layers: int
    width: int
    heads: int
    glu_width: int
    text_vocabulary: int
    image_vocabulary: int


MINI = Sizes(12, 1024, 16, 2730, 50_264, 16_384)
MEGA = Sizes(24, 2048, 32, 4096, 50_272, 16_415)


def build(sizes: Sizes) -> tuple[DalleBartEncoder, DalleBartDecoder]:
    encoder = DalleBartEncoder(
        layer_count=sizes.layers,
        embed_count=sizes.width,
        attention_head_count=sizes.heads,
        text_vocab_count=sizes.text_vocabulary,
        text_token_count=TEXT_TOKENS,
        glu_embed_count=sizes.glu_width,
        device="cpu",
    )
    decoder = DalleBartDecoder(
        image_vocab_count=sizes.image_vocabulary,
        embed_count=sizes.width,
        attention_head_count=sizes.heads,
        glu_embed_count=sizes.glu_width,
        layer_count=sizes.layers,
        device="cpu",
    )
    return encoder.eval(), decoder.eval()


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
    generator = torch.Generator().manual_seed(seed)
    for module, file in zip(build(sizes), ("encoder.pt", "decoder.pt"), strict=True):
        state = {}
        for name, value in module.state_dict().items():
            if name.endswith(".weight") and name.split(".")[-2] in WITHOUT_SCALE:
                continue
            noise = torch.empty_like(value).normal_(generator=generator)
            if name.startswith("embed_"):
                noise *= 0.5
            elif value.dim() == 2:
                noise *= value.shape[1] ** -0.5
            else:
                noise = noise * 0.1 + (1.0 if name.endswith(".weight") else 0.0)
            state[name] = noise.half()
        torch.save(state, folder / file)
        del state
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
