"""Two ways to remember the tokens that were fed, and to attend to them: parts of a decoder graph.

Keys and values are what every decoder caches: as much as two states for each token and layer, and
the fewest operations. A state is what a layer's keys and values are made from: half the memory, and
exact, but a head then multiplies its queries with its key matrix (and what it mixed with its value
matrix) in each step, and attention is over the state's whole width for every head. It is the
"absorbed" form of multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1), with
the state itself as the latent vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto

from .cache_kind import CacheKind
from .graph_builder import HEAD_WIDTH, MICROSOFT, Graph, floats
from .tensors import as_stored

STREAMS: Final = 2  # of a picture: with its text, and without
# Inputs of a sum that ONNX Runtime's product of float32 never splits, however many rows there are;
# of more it makes parts whose size depends on the rows, so that bits would too.
WHOLE_SUM: Final = 128


def streams_of(layer: int) -> int:
    """The first layer's self-attention comes before any text does: there the streams are one."""
    return 1 if layer == 0 else STREAMS


def updated(cache: str) -> str:
    """The name of the output that a cache becomes."""
    return f"{cache}_updated"


@dataclass(frozen=True)
class Window:
    """Where a pass's tokens stand: the first's position of each picture [pictures], the bias that
    masks what comes after each token [pictures, 1, n, 1, places], the tensor that says
    [pictures, streams, n], and how many places there are."""

    positions: str
    mask_bias: str
    batch_shape: str
    places: int

    def with_batch_shape(self, batch_shape: str) -> Window:
        return replace(self, batch_shape=batch_shape)


class SelfAttention(ABC):
    """A layer's, and its caches as inputs and outputs of the graph.

    Caches are [pictures, streams, …], with as many streams as `streams_of` says.
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
        """[pictures, streams, n, width] -> as much, all heads side by side, before out_proj."""

    def _remember(self, kind: str, update: str, shape: tuple[int, ...], axis: int) -> str:
        """A cache ``kind`` of ``shape`` for each stream, with the update in its places along
        ``axis`` -> [pictures, streams, 1, *shape], for products with each token."""
        graph, name = self._graph, f"{kind}_{self._layer}"
        streams = streams_of(self._layer)
        self.inputs.append(floats(name, "pictures", streams, *shape))
        self.outputs.append(floats(updated(name), "pictures", streams, *shape))
        places = name, update, self._window.positions
        graph.op("TensorScatter", *places, output=updated(name), axis=2 + axis)
        return graph.op("Unsqueeze", updated(name), graph.integers(2))

    def _weights(self, scores: str) -> str:
        masked = self._graph.op("Add", scores, self._window.mask_bias)
        return self._graph.op("Softmax", masked, axis=-1)


class KeysAndValues(SelfAttention):
    """``self_keys_l`` [pictures, streams, heads, 64, places] and ``self_values_l``
    [pictures, streams, heads, places, 64]."""

    def attend(self, normed: str) -> str:
        graph, heads, places = self._graph, self._heads, self._window.places
        queries, keys, values = graph.linears(normed, self._name, "q_proj", "k_proj", "v_proj")
        split = graph.integers(0, 0, 0, heads, HEAD_WIDTH)
        keys, values = (graph.op("Reshape", each, split) for each in (keys, values))
        keys = graph.op("Transpose", keys, perm=[0, 1, 3, 4, 2])
        values = graph.op("Transpose", values, perm=[0, 1, 3, 2, 4])
        keys = self._remember("self_keys", keys, (heads, HEAD_WIDTH, places), 2)
        values = self._remember("self_values", values, (heads, places, HEAD_WIDTH), 1)
        queries = graph.scaled(queries)
        queries = graph.op("Reshape", queries, graph.integers(0, 0, 0, heads, 1, HEAD_WIDTH))
        scores = graph.op("MatMul", queries, keys)  # [pictures, streams, n, heads, 1, places]
        scores = graph.op("Squeeze", scores, graph.integers(4))
        weights = graph.op("Unsqueeze", self._weights(scores), graph.integers(4))
        attended = graph.op("MatMul", weights, values)
        return graph.op("Reshape", attended, graph.integers(0, 0, 0, self._width))


class States(SelfAttention):
    """``self_states_l`` [pictures, streams, places, width]: inputs of the key and value matrices.

    A head's score with a state s is q (K s) = (q K) s; the values' sum Σ w (V s) is V (Σ w s).
    """

    def attend(self, normed: str) -> str:
        graph, heads, width = self._graph, self._heads, self._width
        states = self._remember("self_states", normed, (self._window.places, width), 0)
        queries = graph.scaled(graph.linear(normed, f"{self._name}.q_proj"))
        queries = graph.op("Reshape", queries, graph.integers(-1, heads, HEAD_WIDTH))
        queries = self._for_each(self._key_matrices(), queries)  # [heads, width, rows]
        queries = graph.op("Transpose", queries, perm=[2, 0, 1])
        queries = self._of_batch(queries, heads, width)
        scores = graph.op("FusedMatMul", states, queries, domain=MICROSOFT, transB=1)
        scores = graph.op("Transpose", scores, perm=[0, 1, 2, 4, 3])  # [… n, heads, places]
        mixed = graph.op("MatMul", self._weights(scores), states)  # [… n, heads, width]
        whole = WHOLE_SUM if width % WHOLE_SUM == 0 else HEAD_WIDTH
        parts = width // whole
        mixed = graph.op("Reshape", mixed, graph.integers(-1, heads * parts, whole))
        sums = self._for_each(self._value_matrices(parts), mixed)  # [heads * parts, 64, rows]
        sums = graph.op("Reshape", sums, graph.integers(heads, parts, HEAD_WIDTH, -1))
        attended = graph.op("ReduceSum", sums, graph.integers(1), keepdims=0)
        attended = graph.op("Transpose", attended, perm=[2, 0, 1])  # [rows, heads, 64]
        return self._of_batch(attended, width)

    def _for_each(self, matrices: str, x: str) -> str:
        """Matrices [k, a, b] and x [rows, k, b] -> [k, a, rows].

        The matrices stand to the left: ONNX Runtime reads that side as it lies, and would rearrange
        the other one in each step.
        """
        return self._graph.op("FusedMatMul", matrices, x, domain=MICROSOFT, transB=1, transBatchB=1)

    def _of_batch(self, x: str, *sizes: int) -> str:
        """[rows, …] -> [pictures, streams, n, *sizes]."""
        ends = self._graph.integers(*sizes)
        shape = self._graph.op("Concat", self._window.batch_shape, ends, axis=0)
        return self._graph.op("Reshape", x, shape)

    def _key_matrices(self) -> str:
        """[heads, width, 64], from [heads * 64, width]."""
        graph, name = self._graph, f"{self._name}.k_proj"
        return graph.weight(
            f"{name}.heads",
            (self._heads, self._width, HEAD_WIDTH),
            lambda: self._stored(name).transpose(0, 2, 1),
        )

    def _value_matrices(self, parts: int) -> str:
        """[heads * parts, 64, width / parts], from [heads * 64, width]."""
        graph, name = self._graph, f"{self._name}.v_proj"
        shape = (self._heads * parts, HEAD_WIDTH, self._width // parts)

        def read() -> NDArray[np.generic]:
            split = self._stored(name).reshape(self._heads, HEAD_WIDTH, parts, -1)
            return split.transpose(0, 2, 1, 3).reshape(shape)

        return graph.weight(f"{name}.heads", shape, read)

    def _stored(self, name: str) -> NDArray[np.generic]:
        matrix = as_stored(self._graph.weights, f"{name}.weight")
        return matrix.reshape(self._heads, HEAD_WIDTH, self._width)


ATTENTIONS: Final[Mapping[CacheKind, type[SelfAttention]]] = {
    CacheKind.KEYS_AND_VALUES: KeysAndValues,
    CacheKind.STATES: States,
}
