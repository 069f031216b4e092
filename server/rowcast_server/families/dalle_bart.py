"""DALL-E Bart on the CPU runner: an encoder reads the text, a decoder attends to it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..network.facts import (
    PAD,
    REMEMBERED_TEXTS,
    TEXT_POSITIONS,
    UNCONDITIONAL,
    CacheKind,
    Network,
)
from ..network.graph_builder import MASKED
from ..network.graph_files import graph_sources
from ..network.quantised import BITS
from .slots import Arrays, OnnxSlots, session


class DalleBartSlots(OnnxSlots):
    """Slots for network/encoder_graph.py and network/decoder_graph.py."""

    def __init__(
        self, network: Network, slots: int, threads: int, dtype: str, cache: CacheKind
    ) -> None:
        encode, step = graph_sources(network, cache, BITS[dtype])
        self._encoder, self.step = session(encode, threads), session(step, threads)
        self._remembered = lru_cache(REMEMBERED_TEXTS)(self._encode)
        # Of the empty text alone nothing is padding, and all slots share it.
        no_text = self._encode(UNCONDITIONAL)
        self.shared = {
            name.replace("cross", "no_text"): array
            for name, array in no_text.items()
            if name != "bias"
        }
        shapes = {
            entry.name: (slots, *(TEXT_POSITIONS if n == "text" else n for n in entry.shape[1:]))
            for entry in self.step.get_inputs()
        }
        self.texts = {name: np.zeros(shapes[name], np.float32) for name in no_text}
        self.caches = {
            name: np.zeros(shape, np.float32)
            for name, shape in shapes.items()
            if name.startswith("self_")
        }
        self.guidance = np.ones(slots, np.float32)
        self.offsets = np.zeros(slots, np.int64)

    def _encode(self, text_ids: tuple[int, ...]) -> Arrays:
        """Keys and values of the text without its padding, and their bias."""
        length = max(1, sum(token != PAD for token in text_ids))
        text = np.array([text_ids[:length]], np.int64)
        names = [output.name for output in self._encoder.get_outputs()]
        return dict(zip(names, self._encoder.run(names, {"text_ids": text}), strict=True))

    def read(self, slot: int, text_ids: tuple[int, ...], guidance: float) -> None:
        for name, array in self._remembered(text_ids).items():
            padded = self.texts[name][slot]
            padded[...] = MASKED if name == "bias" else 0
            padded[tuple(map(slice, array.shape[1:]))] = array[0]
        self.guidance[slot] = guidance
