"""What the CPU runner needs of a model family: texts into slots, and a pass over slots' tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rowcast.pixels.runtime import import_onnxruntime

from ..network.graph_files import Source
from ..network.self_attention import updated

Arrays = dict[str, NDArray[np.float32]]


def session(model: Source, threads: int) -> Any:
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


class OnnxSlots(ABC):
    """The memory of a model's slots and the session of its step.

    ``texts`` and ``guidance`` [slots, …] are a slot's own inputs of a step, ``shared`` those of
    all, ``caches`` [slots, …] what a pass changes in place. ``offsets`` [slots] int64 are the
    places of a slot's cache before its first image token.
    """

    step: Any  # an `onnxruntime.InferenceSession`
    texts: Arrays
    shared: Arrays
    caches: Arrays
    guidance: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @abstractmethod
    def read(self, slot: int, text_ids: tuple[int, ...], guidance: float) -> None:
        """Give a slot, whose caches are clean, a text and the scale of guidance."""

    def forget(self, slot: int) -> None:
        """Zero a slot's caches: of broken logits a NaN may be left, which goes through any mask."""
        for cache in self.caches.values():
            cache[slot] = 0

    def move(self, source: int, destination: int) -> None:
        """Copy a slot over another."""
        for buffer in (*self.texts.values(), *self.caches.values(), self.guidance):
            buffer[destination] = buffer[source]
        self.offsets[destination] = self.offsets[source]

    def pass_over(
        self,
        slots: slice,
        tokens: NDArray[np.int64],
        places: NDArray[np.int64],
        logits: NDArray[np.float32],
    ) -> Any:
        """A step over the slots' tokens [slots, n] from their places [slots] on, bound once: an
        `onnxruntime.IOBinding`.

        It reads its inputs in place, changes caches in place and writes ``logits`` [slots, n,
        codes]. ONNX Runtime holds addresses alone: the caller keeps the arrays.
        """
        caches = {name: cache[slots] for name, cache in self.caches.items()}
        own = {**self.texts, "guidance": self.guidance}
        inputs: dict[str, NDArray[Any]] = {name: array[slots] for name, array in own.items()}
        inputs |= {"tokens": tokens, "positions": places, **self.shared, **caches}
        return bound(self.step, inputs, caches, logits)


def bound(
    step: Any,
    inputs: dict[str, NDArray[Any]],
    caches: Arrays,
    logits: NDArray[np.float32],
) -> Any:
    """A step's inputs and outputs, bound to where they are in memory."""
    outputs = {"logits": logits, **{updated(name): each for name, each in caches.items()}}
    binding = step.io_binding()
    for bind, named in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, array in named.items():
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    return binding
