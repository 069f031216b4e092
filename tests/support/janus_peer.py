"""transformers' Janus as the peer to agree with, loaded from its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from tests.support import janus


def transformers_tokenizer(path: Path) -> Any:
    """Its tokenizer over a `tokenizer.json`."""
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_file=str(path), bos_token=janus.BEGIN)


def framed(prompt: str) -> str:
    """The text that deepseek's `VLChatProcessor` and transformers' template make of a prompt."""
    return f"{janus.BEGIN}<|User|>: {prompt.strip()}\n\n<|Assistant|>:{janus.IMAGE_BEGIN}"


class JanusPeer:
    """Its model and tokenizer, and what it draws."""

    def __init__(self, folder: Path) -> None:
        make: Any = JanusForConditionalGeneration
        self.model = make.from_pretrained(folder)
        self.model.eval()
        self.tokenizer = transformers_tokenizer(folder / "tokenizer.json")

    def _id(self, token: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(token)
        assert isinstance(number, int)
        return number

    def greedy(self, text: tuple[int, ...], guidance: float) -> NDArray[np.int64]:
        """A picture [tokens] by its own generate loop."""
        ids = torch.tensor([text])
        model = self.model
        model.generation_config.generation_kwargs = {"boi_token_id": self._id(janus.IMAGE_BEGIN)}
        drawn = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=False,
            guidance_scale=guidance,
            bos_token_id=self._id(janus.BEGIN),
            pad_token_id=self._id(janus.PAD),
            num_return_sequences=1,
            max_length=ids.shape[1] + model.model.vision_model.config.num_image_tokens,
        )
        tokens: NDArray[np.int64] = drawn[0].numpy()
        return tokens

    @torch.no_grad()
    def logits(self, text: tuple[int, ...], drawn: NDArray[np.int64]) -> NDArray[np.float32]:
        """Teacher-forced logits of both streams [2, n + 1, codes], conditional first."""
        begin, pad, image = map(self._id, (janus.BEGIN, janus.PAD, janus.IMAGE_BEGIN))
        ids = torch.tensor([text, [begin, *[pad] * (len(text) - 2), image]])
        codes = torch.from_numpy(drawn)[None].repeat(2, 1)
        inside = self.model.model
        embedded = torch.cat(
            [
                inside.get_input_embeddings()(ids),
                self.model.prepare_embeddings_for_image_generation(codes),
            ],
            dim=1,
        )
        states = inside.language_model(inputs_embeds=embedded).last_hidden_state
        logits: NDArray[np.float32] = inside.generation_head(states[:, len(text) - 1 :]).numpy()
        return logits

    def guided(
        self, text: tuple[int, ...], drawn: NDArray[np.int64], guidance: float
    ) -> NDArray[np.float32]:
        """u + s (c - u) of `logits` before each drawn token, [n, codes]."""
        conditional, unconditional = self.logits(text, drawn)[:, :-1]
        mixed: NDArray[np.float32] = unconditional + guidance * (conditional - unconditional)
        return mixed
