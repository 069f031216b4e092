"""The CPU runner: ONNX Runtime, whose MatMul gives a row the same bits in any company."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.runtime import import_onnxruntime

from ..network.facts import DEFAULT_CACHE, PAD, TEXT_POSITIONS, UNCONDITIONAL, CacheKind, Network
from ..network.graph_builder import MASKED
from ..network.graph_files import Source, graph_sources
from ..network.self_attention import updated
from .drafting import Draft
from .request import PictureRequest
from .runner import REMEMBERED_TEXTS, WINDOW, DrawnRow, PendingRow
from .sampling import draw

Arrays = dict[str, NDArray[np.float32]]


def _session(model: Source, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`."""
    onnxruntime = import_onnxruntime()
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
    """Draws with network/encoder_graph.py and network/decoder_graph.py.

    ``slots`` pictures are drawn at once; all memory is taken here. A large network's weights are
    mapped from files (graph_files.py). ``dtype`` "int8" keeps the decoder's matrices in eight bits;
    all else is float32. ``cache`` says what is cached of each token. With a ``draft_window`` of 2 …
    16, a picture that is alone is drawn by speculative decoding (drafting.py), to the same ids.
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
        encode, step = graph_sources(network, cache, int8=dtype == "int8")
        self._encoder, self._step = _session(encode, threads), _session(step, threads)
        self._remembered = lru_cache(REMEMBERED_TEXTS)(self._encode)
        self._take_memory()
        self._requests: list[PictureRequest | None] = [None] * slots
        self._draft_window = draft_window
        self._drafts = [Draft(self.grid.cols) for _ in range(slots)]
        self._passes: dict[int, Any] = {}  # an `onnxruntime.IOBinding` each
        for _ in range(2):  # the first runs take their memory: not in somebody's first row
            self.logits(np.zeros(1, np.int64), np.zeros(1, np.int64))

    def _take_memory(self) -> None:
        slots, grid = self.slots, self.grid
        # Of the empty text alone nothing is padding, and all slots share it.
        no_text = self._encode(UNCONDITIONAL)
        self._no_text = {
            name.replace("cross", "no_text"): array
            for name, array in no_text.items()
            if name != "bias"
        }
        shapes = {
            entry.name: (slots, *(TEXT_POSITIONS if n == "text" else n for n in entry.shape[1:]))
            for entry in self._step.get_inputs()
        }
        self._texts = {name: np.zeros(shapes[name], np.float32) for name in no_text}
        self._caches = {
            name: np.zeros(shape, np.float32)
            for name, shape in shapes.items()
            if name.startswith("self_")
        }
        self._guidance = np.ones(slots, np.float32)
        # A step's inputs and its output: of the first slots, as many as draw.
        self._tokens = np.zeros((slots, 1), np.int64)
        self._positions = np.zeros(slots, np.int64)
        self._logits = np.empty((slots, 1, grid.codebook_size), np.float32)
        # Behind the start token, so that what is fed at a position stands at its index.
        self._ids = np.full((slots, grid.tokens + 1), grid.start_token, np.int64)

    def _encode(self, text_ids: tuple[int, ...]) -> Arrays:
        """Keys and values of the text without its padding, and their bias."""
        length = max(1, sum(token != PAD for token in text_ids))
        text = np.array([text_ids[:length]], np.int64)
        names = [output.name for output in self._encoder.get_outputs()]
        return dict(zip(names, self._encoder.run(names, {"text_ids": text}), strict=True))

    def open(self, slot: int, request: PictureRequest) -> None:
        for name, array in self._remembered(request.text_ids).items():
            padded = self._texts[name][slot]
            padded[...] = MASKED if name == "bias" else 0
            padded[tuple(map(slice, array.shape[1:]))] = array[0]
        if self._requests[slot] is not None:
            for cache in self._caches.values():
                cache[slot] = 0  # of broken logits a NaN may be left, which goes through any mask
        self._requests[slot] = request
        self._guidance[slot] = request.sampling.guidance
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
        self._tokens[:pictures, 0], self._positions[:pictures] = tokens, positions
        if pictures not in self._passes:
            first = slice(pictures)
            fed = self._tokens[first], self._positions[first]
            self._passes[pictures] = self._pass(first, *fed, self._logits[first])
        self._step.run_with_iobinding(self._passes[pictures])
        logits: NDArray[np.float32] = self._logits[:pictures, 0]
        return logits

    def _pass(
        self,
        slots: slice,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        logits: NDArray[np.float32],
    ) -> Any:
        """A step over the slots' tokens [slots, n] from their positions [slots] on, bound once: it
        reads its inputs in place, changes caches in place and writes ``logits``. ONNX Runtime holds
        addresses alone: the caller keeps the arrays."""
        caches = {name: cache[slots] for name, cache in self._caches.items()}
        own = {**self._texts, "guidance": self._guidance}
        inputs: dict[str, NDArray[Any]] = {name: array[slots] for name, array in own.items()}
        inputs |= {"tokens": tokens, "positions": positions, **self._no_text, **caches}
        outputs = {"logits": logits, **{updated(name): each for name, each in caches.items()}}
        binding = self._step.io_binding()
        for bind, named in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in named.items():
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return binding

    def fill(self, slot: int, first: int, count: int) -> None:
        self._window(slot, self._ids[slot, first : first + count], first)

    def _window(self, slot: int, tokens: NDArray[np.int64], first: int) -> NDArray[np.float32]:
        """Feed tokens [n] at positions first … to one slot: the guided logits after each, [n,
        codebook_size]."""
        logits = np.empty((1, len(tokens), self.grid.codebook_size), np.float32)
        positions = np.array([first])
        bound = self._pass(slice(slot, slot + 1), tokens[None], positions, logits)
        self._step.run_with_iobinding(bound)
        after: NDArray[np.float32] = logits[0]
        return after

    def move(self, source: int, destination: int) -> None:
        for buffer in (*self._texts.values(), *self._caches.values(), self._ids, self._guidance):
            buffer[destination] = buffer[source]
        self._requests[destination] = self._requests[source]
        self._drafts[destination] = self._drafts[source]
