"""Janus on the CPU runner: a text is read into the places of the cache before the picture's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...network.facts import STREAMS, Network
from ...network.graph_files import graphs_of
from ...network.quantised import BITS
from ..slots import Arrays, OnnxSlots, bound, session
from .sizes import REMEMBERED_STREAMS, TEXT_PLACES
from .step_graph import janus_step_graph

READ_AT_ONCE = 16  # tokens of a text, whatever the text's length


class JanusSlots(OnnxSlots):
    """Slots for step_graph.py.

    ``text_ids`` are a whole prompt (text.py): its last token begins the image, and is fed as the
    picture's start token, from the place behind the others.
    """

    def __init__(self, network: Network, slots: int, threads: int, dtype: str) -> None:
        weights, grid = network.decoder, network.grid
        specials, places = network.specials, TEXT_PLACES - 1 + grid.tokens
        assert specials is not None, "a Janus network is loaded with its special tokens"
        (step,) = graphs_of(
            (weights,),
            network.digest,
            lambda store: janus_step_graph(
                weights, specials.begin_of_image, places, store, BITS[dtype]
            ),
        )
        self.step = session(step, threads)
        self._first_text = grid.codebook_size + 1  # of the input table
        self._specials = specials
        self.texts, self.shared = {}, {}
        self.caches = {
            entry.name: np.zeros((slots, STREAMS, *entry.shape[2:]), np.float32)
            for entry in self.step.get_inputs()
            if entry.name.startswith("self_")
        }
        self.guidance = np.ones((slots, STREAMS), np.float32)
        self.offsets = np.zeros(slots, np.int64)
        self._logits = np.empty((1, READ_AT_ONCE, grid.codebook_size), np.float32)
        self._remembered = lru_cache(REMEMBERED_STREAMS)(self._prefill)

    def read(self, slot: int, text_ids: tuple[int, ...], guidance: float) -> None:
        length = len(text_ids) - 1
        for stream, ids in enumerate((text_ids, self._specials.without_text(text_ids))):
            for name, entries in self._remembered(ids[:-1]).items():
                _first(name, self.caches[name][slot, stream], length)[...] = entries
        self.offsets[slot] = length
        self.guidance[slot] = guidance, 1 - guidance

    def _prefill(self, ids: tuple[int, ...]) -> Arrays:
        """The caches [1, heads, …] of one stream after these tokens, cut to their places.

        All pictures of a prompt share them, and all prompts of a length the unconditional ones.
        """
        caches = {
            name: np.zeros((1, 1, *cache.shape[2:]), np.float32)
            for name, cache in self.caches.items()
        }
        counts = np.ones((1, 1), np.float32)
        for first in range(0, len(ids), READ_AT_ONCE):
            tokens = np.array([ids[first : first + READ_AT_ONCE]], np.int64) + self._first_text
            places, logits = np.array([first]), self._logits[:, : tokens.size]
            inputs: dict[str, NDArray[Any]] = {"tokens": tokens, "positions": places}
            inputs |= {"guidance": counts, **caches}
            self.step.run_with_iobinding(bound(self.step, inputs, caches, logits))
        return {name: _first(name, cache[0, 0], len(ids)).copy() for name, cache in caches.items()}


def _first(name: str, cache: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """The first places of a stream's cache: keys [1, heads, 128, places], values [1, heads, places,
    128]."""
    return cache[..., :length] if name.startswith("self_keys") else cache[..., :length, :]
