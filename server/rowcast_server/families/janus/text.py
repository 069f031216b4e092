"""Janus' prompts as tokens: the frame of a conversation, by `tokenizer.json`.

The frame is deepseek's and transformers' (`processing_janus.py`, its chat template): begin of text,
`<|User|>: …`, two line breaks, `<|Assistant|>:`, begin of image; no system prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from ...errors import ModelError
from ...network.facts import SpecialTokens
from ..text import EncodedText
from .sizes import TEXT_PLACES

FRAME: Final = "<|User|>: {}\n\n<|Assistant|>:"
FRAME_END: Final = "\n\n<|Assistant|>:"
BEGIN_OF_TEXT: Final = "<｜begin▁of▁sentence｜>"
PAD: Final = "<｜▁pad▁｜>"
BEGIN_OF_IMAGE: Final = "<begin_of_image>"


class JanusTokenizer:
    """Byte-pair tokens by the rules of a `tokenizer.json`. ``vocabulary`` are its ids, special ones
    among them."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError where the file cannot be used, or has no special tokens of Janus'."""
        try:
            self._tokenizer = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises this class itself
            raise ModelError(f"{path} cannot be used ({error}); fetch it anew") from error

        def special(name: str) -> int:
            number: int | None = self._tokenizer.token_to_id(name)
            if number is None:
                raise ModelError(
                    f"{path} has no token {name}, so it is not Janus-Pro's; take the "
                    "tokenizer.json of this model"
                )
            return number

        self.specials = SpecialTokens(*map(special, (BEGIN_OF_TEXT, PAD, BEGIN_OF_IMAGE)))
        self.highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, text: str) -> EncodedText:
        """Tokenize a prompt, of which at most TEXT_PLACES tokens are kept with the frame. Nothing
        is lost: the tokenizer knows every byte."""
        inside = self._ids(FRAME.format(text.strip()))
        cut = max(0, len(inside) + 2 - TEXT_PLACES)
        if cut:
            end = self._ids(FRAME_END)
            inside = [*inside[: TEXT_PLACES - 2 - len(end)], *end]
        ids = [self.specials.begin_of_text, *inside, self.specials.begin_of_image]
        return EncodedText(np.array(ids, np.int64), len(ids), cut)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids
