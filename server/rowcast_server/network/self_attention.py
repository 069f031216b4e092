"""Self-attention over a cache, in two ways: parts of a decoder graph.

Keys and values are the usual cache: twice a state's size for each token and layer, and the fewest
operations. A state is the input that a layer's keys and values are made from: half the memory, and
exact, but in each step a head multiplies its queries with its key matrix (and its mixture with its
value matrix), and attention runs over the state's whole width for every head. It is the "absorbed"
form of multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1), with the state
itself as the latent vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from onnx import ValueInfoProto

from .facts import HEAD_WIDTH, CacheKind, streams_of
from .graph_builder import MICROSOFT, Graph, floats
from .tensors import Array, as_stored

# Inputs of a sum that ONNX Runtime's product of float32 never splits, however many rows there are;
# of more it makes parts whose size depends on the rows, so that bits would too.
WHOLE_SUM: Final = 128


def updated(cache: str) -> str:
    """The name of the output for a cache with the pass's tokens in it."""
    return f"{cache}_updated"


class Window:
    """The positions of a pass's tokens, and the masks that follow from them.

    ``x`` is [pictures, streams, n, width], ``positions`` [pictures, n] are the tokens' own; caches
    hold ``places`` of them, and take the pass's from the input ``positions`` [pictures] on.
    """

    def __init__(self, graph: Graph, x: str, positions: str, places: int) -> None:
        self._graph, self._positions, self.places = graph, positions, places
        self._batch_shape = graph.op("Shape", x, start=0, end=3)
        self._shapes: dict[tuple[int, ...], str] = {}
        self._masks: dict[int, str] = {}

    def of_streams(self, x: str) -> Window:
        """The same window for another number of streams."""
        other = Window(self._graph, x, self._positions, self.places)
        other._masks = self._masks
        return other

    def shape(self, *sizes: int) -> str:
        """The tensor [pictures, streams, n, *sizes]."""
        if sizes not in self._shapes:
            ends = self._graph.integers(*sizes)
            self._shapes[sizes] = self._graph.op("Concat", self._batch_shape, ends, axis=0)
        return self._shapes[sizes]

    def mask_bias(self, between: int) -> str:
        """The causal mask as a bias [pictures, 1, n, 1 …, places], with as many axes ``between``
        as scores have."""
        if between not in self._masks:
            graph = self._graph
            places = graph.constant("places", np.arange(self.places, dtype=np.int64))
            axes = graph.integers(1, *range(3, 4 + between))
            here = graph.op("Unsqueeze", self._positions, axes)
            self._masks[between] = graph.masked_bias(graph.op("LessOrEqual", places, here))
        return self._masks[between]


class SelfAttention(ABC):
    """Self-attention of a layer, with its caches as inputs and outputs of the graph.

    Caches are [pictures, streams, 1, …], with as many streams as `streams_of` says.
    """

    def __init__(self, graph: Graph, window: Window, layer: int) -> None:
        self._graph, self._window, self._layer = graph, window, layer
        self._name = f"layers.{layer}.self_attn"
        self._width = graph.width
        self._heads = graph.width // HEAD_WIDTH
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    @abstractmethod
    def attend(self, normed: str) -> str:
        """[pictures, streams, n, width] -> the same shape, all heads side by side, before
        out_proj."""

    def _remember(self, kind: str, update: str, shape: tuple[int, ...], axis: int) -> str:
        """Write the tokens' entries into the cache ``kind`` [pictures, streams, 1, *shape], in
        their places along ``axis`` of the shape; returns the cache's name."""
        graph, name = self._graph, f"{kind}_{self._layer}"
        streams = streams_of(self._layer)
        self.inputs.append(floats(name, "pictures", streams, 1, *shape))
        self.outputs.append(floats(updated(name), "pictures", streams, 1, *shape))
        places = name, update, "positions"
        return graph.op("TensorScatter", *places, output=updated(name), axis=3 + axis)

    def _weights(self, scores: str, between: int) -> str:
        masked = self._graph.op("Add", scores, self._window.mask_bias(between))
        return self._graph.op("Softmax", masked, axis=-1)


class KeysAndValues(SelfAttention):
    """A KV cache: ``self_keys_l`` [pictures, streams, 1, heads, 64, places] and
    ``self_values_l`` [pictures, streams, 1, heads, places, 64]."""

    def attend(self, normed: str) -> str:
        graph, heads, places = self._graph, self._heads, self._window.places
        queries, keys, values = graph.linears(normed, self._name, "q_proj", "k_proj", "v_proj")
        split = graph.integers(0, 0, 1, -1, heads, HEAD_WIDTH)
        keys, values = (graph.op("Reshape", each, split) for each in (keys, values))
        keys = graph.op("Transpose", keys, perm=[0, 1, 2, 4, 5, 3])
        values = graph.op("Transpose", values, perm=[0, 1, 2, 4, 3, 5])
        keys = self._remember("self_keys", keys, (heads, HEAD_WIDTH, places), 2)
        values = self._remember("self_values", values, (heads, places, HEAD_WIDTH), 1)
        queries = graph.scaled(queries)
        queries = graph.op("Reshape", queries, graph.integers(0, 0, 0, heads, 1, HEAD_WIDTH))
        scores = graph.op("MatMul", queries, keys)  # [pictures, streams, n, heads, 1, places]
        attended = graph.op("MatMul", self._weights(scores, between=2), values)
        return graph.op("Reshape", attended, graph.integers(0, 0, 0, self._width))


class States(SelfAttention):
    """A cache of states: ``self_states_l`` [pictures, streams, 1, places, width].

    A head's score with a state s is q (K s) = (q K) s; the values' sum Σ w (V s) is V (Σ w s).
    """

    def attend(self, normed: str) -> str:
        graph, heads, width = self._graph, self._heads, self._width
        update = graph.op("Unsqueeze", normed, graph.integers(2))
        states = self._remember("self_states", update, (self._window.places, width), 0)
        queries = graph.scaled(graph.linear(normed, f"{self._name}.q_proj"))
        queries = graph.op("Reshape", queries, graph.integers(-1, heads, HEAD_WIDTH))
        queries = self._for_each(self._key_matrices(), queries)  # [heads, width, rows]
        queries = graph.op("Transpose", queries, perm=[2, 0, 1])
        queries = graph.op("Reshape", queries, self._window.shape(heads, width))
        scores = graph.op("FusedMatMul", states, queries, domain=MICROSOFT, transB=1)
        scores = graph.op("Transpose", scores, perm=[0, 1, 2, 4, 3])  # [… n, heads, places]
        mixed = graph.op("MatMul", self._weights(scores, between=1), states)  # [… n, heads, width]
        whole = WHOLE_SUM if width % WHOLE_SUM == 0 else HEAD_WIDTH
        parts = width // whole
        mixed = graph.op("Reshape", mixed, graph.integers(-1, heads * parts, whole))
        sums = self._for_each(self._value_matrices(parts), mixed)  # [heads * parts, 64, rows]
        sums = graph.op("Reshape", sums, graph.integers(heads, parts, HEAD_WIDTH, -1))
        attended = graph.op("ReduceSum", sums, graph.integers(1), keepdims=0)
        attended = graph.op("Transpose", attended, perm=[2, 0, 1])  # [rows, heads, 64]
        return graph.op("Reshape", attended, self._window.shape(width))

    def _for_each(self, matrices: str, x: str) -> str:
        """Matrices [k, a, b] and x [rows, k, b] -> [k, a, rows].

        The matrices stand to the left: ONNX Runtime reads that side as it lies, and would rearrange
        the other one in each step.
        """
        return self._graph.op("FusedMatMul", matrices, x, domain=MICROSOFT, transB=1, transBatchB=1)

    def _key_matrices(self) -> str:
        """[heads, width, 64], from [heads * 64, width]."""
        shape = self._heads, self._width, HEAD_WIDTH
        return self._matrices("k_proj", shape, lambda stored: stored.transpose(0, 2, 1))

    def _value_matrices(self, parts: int) -> str:
        """[heads * parts, 64, width / parts], from [heads * 64, width]."""
        split = self._heads, HEAD_WIDTH, parts, self._width // parts
        shape = self._heads * parts, HEAD_WIDTH, self._width // parts
        return self._matrices(
            "v_proj",
            shape,
            lambda stored: stored.reshape(split).transpose(0, 2, 1, 3).reshape(shape),
        )

    def _matrices(
        self, part: str, shape: tuple[int, ...], arranged: Callable[[Array], Array]
    ) -> str:
        weights, name = self._graph.weights, f"{self._name}.{part}"
        heads = self._heads, HEAD_WIDTH, self._width

        def read() -> Array:
            return arranged(as_stored(weights, f"{name}.weight").reshape(heads))

        return self._graph.weight(f"{name}.heads", shape, read)


ATTENTIONS: Final[Mapping[CacheKind, type[SelfAttention]]] = {
    CacheKind.KEYS_AND_VALUES: KeysAndValues,
    CacheKind.STATES: States,
}
