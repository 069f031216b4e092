"""The CPU runner: ONNX Runtime, whose MatMul gives the same bits for a row in any company.

Batch rows come in pairs, 2 i the conditional and 2 i + 1 the unconditional stream of slot i.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..models.graph_files import Source, graph_sources
from ..models.graphs import HEAD_WIDTH, Weights, layer_count
from ..models.tensors import shape_of
from .runner import Grid

REMEMBERED_TEXTS: Final = 64

Memory = dict[str, NDArray[np.float32]]


def _session(model: Source, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would make the event loop's thread wait for a core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRunner:
    """Draws with the graphs of models/graphs.py.

    ``encoder`` and ``decoder`` are DalleBart's weights; ``unconditional`` the text ids of the empty
    prompt. ``slots`` pictures are drawn at once; all memory is taken here. With ``digest``, which
    stands for the weights, those of a large model are mapped from the cache (graph_files.py).
    """

    def __init__(
        self,
        encoder: Weights,
        decoder: Weights,
        grid: Grid,
        unconditional: tuple[int, ...],
        slots: int,
        threads: int,
        digest: bytes | None = None,
    ) -> None:
        self.grid = grid
        self.slots = slots
        encode, step = graph_sources(encoder, decoder, grid.codebook_size, digest)
        self._encoder = _session(encode, threads)
        self._step = _session(step, threads)
        self._layers = layer_count(decoder)
        self._encoder_outputs = [output.name for output in self._encoder.get_outputs()]
        self._texts: OrderedDict[tuple[int, ...], Memory] = OrderedDict()
        self._unconditional = self._encode(unconditional)
        self._memory = {
            name: np.zeros((2 * slots, *array.shape[1:]), np.float32)
            for name, array in self._unconditional.items()
        }
        for name, array in self._unconditional.items():
            self._memory[name][1::2] = array
        positions, width = shape_of(decoder, "embed_positions.weight")
        heads = width // HEAD_WIDTH
        self._keys = [
            np.zeros((2 * slots, heads, HEAD_WIDTH, positions), np.float32)
            for _ in range(self._layers)
        ]
        self._values = [
            np.zeros((2 * slots, heads, positions, HEAD_WIDTH), np.float32)
            for _ in range(self._layers)
        ]
        for _ in range(2):  # the first runs take their memory: not in somebody's first row
            self._forward(np.zeros(1, np.int64), np.zeros(1, np.int64))

    def _encode(self, text_ids: tuple[int, ...]) -> Memory:
        text = np.array([text_ids], np.int64)
        outputs = self._encoder.run(self._encoder_outputs, {"text_ids": text})
        return dict(zip(self._encoder_outputs, outputs, strict=True))

    def open(self, slot: int, text_ids: tuple[int, ...]) -> None:
        memory = self._texts.get(text_ids)
        if memory is None:
            memory = self._texts[text_ids] = self._encode(text_ids)
            if len(self._texts) > REMEMBERED_TEXTS:
                self._texts.popitem(last=False)
        for name, array in memory.items():
            self._memory[name][2 * slot] = array[0]

    def step(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._forward(tokens, positions)

    def _forward(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = np.arange(2 * len(tokens))
        row_positions = np.repeat(positions, 2)
        feeds: dict[str, NDArray[np.generic]]
        feeds = {"tokens": np.repeat(tokens, 2), "positions": row_positions}
        # Prefixes of the buffers: no copies.
        feeds |= {name: array[: len(rows)] for name, array in self._memory.items()}
        for layer in range(self._layers):
            feeds[f"self_keys_{layer}"] = self._keys[layer][: len(rows)]
            feeds[f"self_values_{layer}"] = self._values[layer][: len(rows)]
        logits, *new = self._step.run(None, feeds)
        for layer in range(self._layers):
            self._keys[layer][rows, :, :, row_positions] = new[2 * layer]
            self._values[layer][rows, :, row_positions] = new[2 * layer + 1]
        return logits[0::2], logits[1::2]

    def fill(self, slot: int, tokens: NDArray[np.int64], first: int) -> None:
        streams, places = slice(2 * slot, 2 * slot + 2), slice(first, first + len(tokens))
        positions = np.arange(first, first + len(tokens))
        feeds: dict[str, NDArray[np.generic]]
        feeds = {"tokens": np.tile(tokens, 2), "positions": np.tile(positions, 2)}
        feeds |= {name: array[streams] for name, array in self._memory.items()}
        for layer in range(self._layers):
            feeds[f"self_keys_{layer}"] = self._keys[layer][streams]
            feeds[f"self_values_{layer}"] = self._values[layer][streams]
        _, *new = self._step.run(None, feeds)
        for layer in range(self._layers):
            keys, values = (
                part.reshape(2, len(tokens), -1, HEAD_WIDTH)  # [2, n, heads, 64]
                for part in new[2 * layer : 2 * layer + 2]
            )
            self._keys[layer][streams, :, :, places] = keys.transpose(0, 2, 3, 1)
            self._values[layer][streams, :, places] = values.transpose(0, 2, 1, 3)

    def move(self, source: int, destination: int) -> None:
        rows, places = (
            slice(2 * source, 2 * source + 2),
            slice(2 * destination, 2 * destination + 2),
        )
        for buffer in (*self._memory.values(), *self._keys, *self._values):
            buffer[places] = buffer[rows]
