"""DALL-E Bart on the torch runner: an encoder reads the text, a decoder attends to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..network.dalle_bart import DalleBartEncoder
from ..network.device_weights import load_module
from ..network.facts import (
    PAD,
    REMEMBERED_TEXTS,
    UNCONDITIONAL,
    Network,
    TransformerShape,
    Weights,
)
from ..network.static_decoder import Pass, StaticDecoder
from .torch_slots import TorchSlots, Upload


def _encoder(weights: Weights, device: torch.device, dtype: torch.dtype) -> DalleBartEncoder:
    with torch.device("meta"):
        module = DalleBartEncoder(TransformerShape.of(weights))
    return load_module(module, weights, device, dtype)


class DalleBartTorchSlots(TorchSlots):
    """Slots for network/static_decoder.py."""

    def __init__(
        self,
        network: Network,
        slots: int,
        device: torch.device,
        dtype: torch.dtype,
        upload: Upload,
        fused: Callable[[Pass], Pass],
    ) -> None:
        self._device, self._upload = device, upload
        self._encoder = _encoder(network.encoder, device, dtype)
        codes = network.grid.codebook_size
        self._decoder = StaticDecoder(network.decoder, codes, device, dtype, fused)
        self.positions = self._decoder.positions
        self.memory = self._decoder.memory(2 * slots)
        self._remembered = lru_cache(REMEMBERED_TEXTS)(self._encode)
        self._listen(slice(1, None, 2), UNCONDITIONAL)

    def _encode(self, text_ids: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The encoder's states [text, width] and the bias [text] of attention to them."""
        ids = torch.zeros(len(text_ids), dtype=torch.int64, device=self._device)
        self._upload(np.array(text_ids, np.int64), ids)
        return self._encoder(ids[None])[0], self._decoder.bias(ids != PAD)

    def _listen(self, rows: int | slice, text_ids: tuple[int, ...]) -> None:
        """Give batch rows the text that they attend to.

        The encoder's states of a text are kept, not its keys and values: those of Mega are 48 times
        as large.
        """
        states, bias = self._remembered(text_ids)
        cross = self._decoder.read_text(states)
        self.memory.cross[:, :, rows] = cross[:, :, None] if isinstance(rows, slice) else cross
        self.memory.text_bias[rows] = bias

    def read(self, slot: int, text_ids: tuple[int, ...]) -> None:
        self._listen(2 * slot, text_ids)

    def forget(self, slot: int) -> None:
        self.memory.rows(2 * slot, 2 * slot + 2).forget()

    def feed(self, tokens: Tensor, positions: Tensor, first: int) -> Tensor:
        return self._decoder.feed(tokens, positions, self.memory.rows(first, first + len(tokens)))

    def guided_logits(self, states: Tensor, guidance: Tensor) -> Tensor:
        return self._decoder.guided_logits(states, guidance)

    def move(self, source: int, destination: int) -> None:
        rows = [self.memory.rows(2 * slot, 2 * slot + 2) for slot in (destination, source)]
        rows[0].copy_from(rows[1])
