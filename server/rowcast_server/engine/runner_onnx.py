"""The CPU runner: ONNX Runtime, whose MatMul gives a row the same bits in any company."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..families.choosing import onnx_slots
from ..network.facts import DEFAULT_CACHE, CacheKind, Network
from .drafting import Draft
from .request import PictureRequest
from .runner import WINDOW, DrawnRow, PendingRow
from .sampling import draw


class OnnxRunner:
    """Draws with what the model's family holds in its slots (families/slots.py).

    ``slots`` pictures are drawn at once; all memory is taken here. A large network's weights are
    mapped from files (graph_files.py). ``dtype`` "int8" or "int4" keeps the matrices of a step in
    eight or four bits; all else is float32. ``cache`` says what is cached of each token. With a
    ``draft_window`` of 2 … 16, a picture that is alone is drawn by speculative decoding
    (drafting.py), to the same ids.
    """

    def __init__(
        self,
        network: Network,
        slots: int,
        threads: int,
        dtype: str = "float32",
        cache: CacheKind = DEFAULT_CACHE,
        draft_window: int = 1,
    ) -> None:
        self.grid, self.slots = network.grid, slots
        self.held = onnx_slots(network, slots, threads, dtype, cache)
        # A step's inputs and its output: of the first slots, as many as draw.
        self._tokens = np.zeros((slots, 1), np.int64)
        self._places = np.zeros(slots, np.int64)
        self._logits = np.empty((slots, 1, self.grid.codebook_size), np.float32)
        # Behind the start token, so that what is fed at a position stands at its index.
        self._ids = np.full((slots, self.grid.tokens + 1), self.grid.start_token, np.int64)
        self._requests: list[PictureRequest | None] = [None] * slots
        self._draft_window = draft_window
        self._drafts = [Draft(self.grid.cols) for _ in range(slots)]
        self._passes: dict[int, Any] = {}  # an `onnxruntime.IOBinding` each
        for _ in range(2):  # the first runs take their memory: not in somebody's first row
            self.logits(np.zeros(1, np.int64), np.zeros(1, np.int64))

    def open(self, slot: int, request: PictureRequest) -> None:
        if self._requests[slot] is not None:
            self.held.forget(slot)
        self.held.read(slot, request.text_ids, request.sampling.guidance)
        self._requests[slot] = request
        self._drafts[slot] = Draft(self.grid.cols)
        if request.prefix is not None:
            self._ids[slot, 1 : 1 + request.prefix.size] = request.prefix.reshape(-1)

    def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(positions) == 1 and self._draft_window > 1:
            return np.array([self._draft(int(positions[0]))])
        slots = np.arange(len(positions))
        fed = np.maximum(self._ids[slots, positions], 0)  # after broken logits, anything will do
        logits = self.logits(fed, positions)
        free = np.flatnonzero(positions >= [self._given(slot) for slot in range(len(positions))])
        self._ids[free, positions[free] + 1] = self._sample(free, logits[free], positions[free])
        return np.ones(len(positions), np.int64)

    def _sample(
        self, slots: NDArray[np.int64], logits: NDArray[np.float32], positions: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The token of each row of guided logits, for the picture in its slot."""
        requests = [self._requests[slot] for slot in slots]
        known = [request for request in requests if request is not None]
        assert len(known) == len(requests), "a slot that draws was opened"
        return draw(logits, known, positions.tolist())

    def _given(self, slot: int) -> int:
        """The number of tokens that the prefix of the slot's picture gives."""
        request = self._requests[slot]
        return 0 if request is None or request.prefix is None else request.prefix.size

    def _draft(self, first: int) -> int:
        """Draw a window of slot 0, alone; returns the number of tokens kept."""
        given = max(0, self._given(0) - first)
        count = min(given + self._draft_window, WINDOW, self.grid.tokens - first)
        given = min(given, count)  # the rest of a long prefix comes with the next pass
        ids = self._ids[0, 1:]
        draft = self._drafts[0]
        guessed = np.concatenate(
            [ids[first : first + given], draft.guess(ids, first + given, count - given)]
        )
        fed = np.concatenate([self._ids[0, first : first + 1], guessed[:-1]])
        logits = self._window(0, np.maximum(fed, 0), first)
        drawn = guessed.copy()
        drawn[given:] = self._sample(
            np.zeros(count - given, np.int64),
            logits[given:],
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
    ) -> NDArray[np.float32]:
        """Feed tokens [n] at positions [n] to slots 0 … n-1: the guided logits of what comes next,
        [n, codebook_size] float32, which the next call writes over."""
        pictures = len(tokens)
        self._tokens[:pictures, 0] = tokens
        self._places[:pictures] = positions + self.held.offsets[:pictures]
        if pictures not in self._passes:
            first = slice(pictures)
            fed = self._tokens[first], self._places[first]
            self._passes[pictures] = self.held.pass_over(first, *fed, self._logits[first])
        self.held.step.run_with_iobinding(self._passes[pictures])
        logits: NDArray[np.float32] = self._logits[:pictures, 0]
        return logits

    def fill(self, slot: int, first: int, count: int) -> None:
        self._window(slot, self._ids[slot, first : first + count], first)

    def _window(self, slot: int, tokens: NDArray[np.int64], first: int) -> NDArray[np.float32]:
        """Feed tokens [n] at positions first … to one slot: the guided logits after each, [n,
        codebook_size]."""
        logits = np.empty((1, len(tokens), self.grid.codebook_size), np.float32)
        places = self.held.offsets[slot : slot + 1] + first
        bound = self.held.pass_over(slice(slot, slot + 1), tokens[None], places, logits)
        self.held.step.run_with_iobinding(bound)
        after: NDArray[np.float32] = logits[0]
        return after

    def move(self, source: int, destination: int) -> None:
        self.held.move(source, destination)
        self._ids[destination] = self._ids[source]
        self._requests[destination] = self._requests[source]
        self._drafts[destination] = self._drafts[source]
