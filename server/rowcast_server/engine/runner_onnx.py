"""The CPU runner: ONNX Runtime, whose MatMul gives the same bits for a row in any company.

Batch rows come in pairs, 2 i the conditional and 2 i + 1 the unconditional stream of slot i.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..models.graph_builder import HEAD_WIDTH, MASKED, Weights, layer_count
from ..models.graph_files import Source, graph_sources
from ..models.graphs import PAD_TOKEN
from ..models.tensors import shape_of
from .drafting import Draft
from .request import PictureRequest
from .runner import NOT_DRAWN, REMEMBERED_TEXTS, WINDOW, DrawnRow, Grid, PendingRow
from .sampling import draw

Memory = dict[str, NDArray[np.float32]]


def _session(model: Source, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A large model's threads spin between the products of a step, for sleeping and waking takes a
    # tenth of it; between steps they leave the cores to the event loop. The steps of a small model
    # leave no gap: a client on the same machine would wait for its first row.
    spins = "1" if isinstance(model, str) else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spins)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRunner:
    """Draws with the graphs of models/graphs.py.

    ``encoder`` and ``decoder`` are DalleBart's weights; ``unconditional`` the text ids of the empty
    prompt. ``slots`` pictures are drawn at once; all memory is taken here. With ``digest``, which
    stands for the weights, those of a large model are mapped from the cache (graph_files.py).
    ``int8`` keeps the decoder's matrices in eight bits. A ``draft_window`` of 2 … 16 draws one
    picture that is alone in windows of guessed tokens (drafting.py), to the same ids.
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
        int8: bool = False,
        draft_window: int = 1,
    ) -> None:
        self.grid = grid
        self.slots = slots
        encode, step = graph_sources(encoder, decoder, grid.codebook_size, digest, int8)
        self._encoder = _session(encode, threads)
        self._step = _session(step, threads)
        self._layers = layer_count(decoder)
        self._encoder_outputs = [output.name for output in self._encoder.get_outputs()]
        self._remembered = lru_cache(REMEMBERED_TEXTS)(self._encode)
        self._memory = {
            name: np.repeat(array, 2 * slots, axis=0)
            for name, array in self._encode(unconditional).items()
        }
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
        self._requests: list[PictureRequest | None] = [None] * slots
        self._draft_window = draft_window
        self._drafts = [Draft(grid.cols) for _ in range(slots)]
        # Behind the start token, so that what is fed at a position stands at its index.
        self._ids = np.full((slots, positions + 1), grid.start_token, np.int64)
        for _ in range(2):  # the first runs take their memory: not in somebody's first row
            self.logits(np.zeros(1, np.int64), np.zeros(1, np.int64))

    def _encode(self, text_ids: tuple[int, ...]) -> Memory:
        """What the decoder attends to, over all text positions: padding costs no time here and
        is masked there."""
        length = max(1, sum(token != PAD_TOKEN for token in text_ids))
        text = np.array([text_ids[:length]], np.int64)
        outputs = self._encoder.run(self._encoder_outputs, {"text_ids": text})
        memory = {}
        for name, array in zip(self._encoder_outputs, outputs, strict=True):
            axis = 2 if name.startswith("cross_values") else 3
            widths = [(0, 0)] * 4
            widths[axis] = (0, len(text_ids) - length)
            memory[name] = np.pad(array, widths, constant_values=MASKED if name == "bias" else 0)
        return memory

    def open(self, slot: int, request: PictureRequest) -> None:
        for name, array in self._remembered(request.text_ids).items():
            self._memory[name][2 * slot] = array[0]
        if (self._ids[slot] == NOT_DRAWN).any():
            self._forget(slot)
        self._requests[slot] = request
        self._drafts[slot] = Draft(self.grid.cols)
        if request.prefix is not None:
            self._ids[slot, 1 : 1 + request.prefix.size] = request.prefix.reshape(-1)

    def _forget(self, slot: int) -> None:
        """After broken logits: a masked NaN in the cache would still reach the next picture."""
        self._ids[slot] = self.grid.start_token
        for buffer in (*self._keys, *self._values):
            buffer[2 * slot : 2 * slot + 2] = 0

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(positions) == 1 and self._draft_window > 1:
            return np.array([self._draft(int(positions[0]))])
        slots = np.arange(len(positions))
        fed = np.maximum(self._ids[slots, positions], 0)  # after broken logits, anything will do
        conditional, unconditional = self.logits(fed, positions)
        free = np.flatnonzero(positions >= [self._given(slot) for slot in range(len(positions))])
        self._ids[free, positions[free] + 1] = self._sample(
            free, conditional[free], unconditional[free], positions[free]
        )
        return np.ones(len(positions), np.int64)

    def _sample(
        self,
        slots: NDArray[np.int64],
        conditional: NDArray[np.float32],
        unconditional: NDArray[np.float32],
        positions: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The token of each row of logits, of the picture in its slot."""
        requests = [self._requests[slot] for slot in slots]
        known = [request for request in requests if request is not None]
        assert len(known) == len(requests), "a slot that draws was opened"
        return draw(conditional, unconditional, known, positions.tolist())

    def _given(self, slot: int) -> int:
        """How many tokens of the slot's picture its prefix gives."""
        request = self._requests[slot]
        return 0 if request is None or request.prefix is None else request.prefix.size

    def _draft(self, first: int) -> int:
        """Draw a window of slot 0, alone; returns how many of its tokens stand."""
        given = max(0, self._given(0) - first)
        count = min(given + self._draft_window, WINDOW, self.grid.tokens - first)
        given = min(given, count)  # the rest of a long prefix comes with the next pass
        ids = self._ids[0, 1:]
        draft = self._drafts[0]
        guessed = np.concatenate(
            [ids[first : first + given], draft.guess(ids, first + given, count - given)]
        )
        fed = np.concatenate([self._ids[0, first : first + 1], guessed[:-1]])
        conditional, unconditional = self._window(0, np.maximum(fed, 0), first)
        drawn = guessed.copy()
        drawn[given:] = self._sample(
            np.zeros(count - given, np.int64),
            conditional[given:],
            unconditional[given:],
            np.arange(first + given, first + count),
        )
        kept = draft.accept(guessed, drawn, first)
        ids[first : first + kept] = drawn[:kept]
        return kept

    def row(self, slot: int, row: int) -> PendingRow:
        first = 1 + row * self.grid.cols
        return DrawnRow(self._ids[slot, first : first + self.grid.cols].copy())

    def logits(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Feed tokens [n] at positions [n] to slots 0 … n-1: the conditional and the unconditional
        logits of what comes next, each [n, codebook_size] float32."""
        rows = np.arange(2 * len(tokens))
        row_positions = np.repeat(positions, 2)
        logits, new = self._run(slice(len(rows)), np.repeat(tokens, 2), row_positions)
        for layer in range(self._layers):
            self._keys[layer][rows, :, :, row_positions] = new[2 * layer]
            self._values[layer][rows, :, row_positions] = new[2 * layer + 1]
        return logits[0::2], logits[1::2]

    def _run(
        self, streams: slice, tokens: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Feed tokens at positions [rows] to batch rows that follow one another: the logits
        [rows, codebook_size], and the new keys and values of each layer in turn."""
        feeds: dict[str, NDArray[np.generic]] = {"tokens": tokens, "positions": positions}
        feeds |= {name: array[streams] for name, array in self._memory.items()}  # no copies
        for layer in range(self._layers):
            feeds[f"self_keys_{layer}"] = self._keys[layer][streams]
            feeds[f"self_values_{layer}"] = self._values[layer][streams]
        logits, *new = self._step.run(None, feeds)
        return logits, new

    def fill(self, slot: int, first: int, count: int) -> None:
        self._window(slot, self._ids[slot, first : first + count], first)

    def _window(
        self, slot: int, tokens: NDArray[np.int64], first: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Feed tokens [n] at positions first … to one slot: logits as `logits`, one row a token."""
        count = len(tokens)
        streams, places = slice(2 * slot, 2 * slot + 2), slice(first, first + count)
        positions = np.arange(first, first + count)
        logits, new = self._run(streams, np.tile(tokens, 2), np.tile(positions, 2))
        for layer in range(self._layers):
            keys, values = (
                part.reshape(2, count, -1, HEAD_WIDTH)  # [2, n, heads, 64]
                for part in new[2 * layer : 2 * layer + 2]
            )
            self._keys[layer][streams, :, :, places] = keys.transpose(0, 2, 3, 1)
            self._values[layer][streams, :, places] = values.transpose(0, 2, 1, 3)
        return logits[:count], logits[count:]

    def move(self, source: int, destination: int) -> None:
        rows, places = (
            slice(2 * source, 2 * source + 2),
            slice(2 * destination, 2 * destination + 2),
        )
        for buffer in (*self._memory.values(), *self._keys, *self._values):
            buffer[places] = buffer[rows]
        self._ids[destination] = self._ids[source]
        self._requests[destination] = self._requests[source]
        self._drafts[destination] = self._drafts[source]
