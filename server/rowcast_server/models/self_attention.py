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


def now(cache: str) -> str:
    """The name of the output that a cache has become."""
    return f"{cache}_now"


@dataclass(frozen=True)
class Window:
    """Where a pass's tokens stand: the first's position of each picture [pictures], the bias of
    attention to what stands before each token [pictures, 1, n, 1, places], the shape
    [pictures, streams, n] as a tensor, and how many places there are."""

    positions: str
    past: str
    rows: str
    places: int

    def with_rows(self, rows: str) -> Window:
        return replace(self, rows=rows)


class SelfAttention(ABC):
    """A layer's, and its caches as inputs and outputs of the graph.

    Caches are [pictures, streams, …]; layer 0 has one stream, the others have two.
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
        streams = 1 if self._layer == 0 else 2
        self.inputs.append(floats(name, "pictures", streams, *shape))
        self.outputs.append(floats(now(name), "pictures", streams, *shape))
        graph.op(
            "TensorScatter", name, update, self._window.positions, output=now(name), axis=2 + axis
        )
        return graph.op("Unsqueeze", now(name), graph.integers(2))

    def _weights(self, scores: str) -> str:
        return self._graph.op("Softmax", self._graph.op("Add", scores, self._window.past), axis=-1)


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
        queries = graph.op("Transpose", queries, perm=[1, 2, 0])  # [heads, 64, rows]
        # The matrix stands to the left: ONNX Runtime reads that side as it lies, and would
        # rearrange the other one in each step.
        queries = graph.op("MatMul", self._of_heads("k_proj", transposed=True), queries)
        queries = graph.op("Transpose", queries, perm=[2, 0, 1])  # [rows, heads, width]
        shape = graph.op("Concat", self._window.rows, graph.integers(heads, width), axis=0)
        queries = graph.op("Reshape", queries, shape)
        scores = graph.op("FusedMatMul", states, queries, domain=MICROSOFT, transB=1)
        scores = graph.op("Transpose", scores, perm=[0, 1, 2, 4, 3])  # [… n, heads, places]
        mixed = graph.op("MatMul", self._weights(scores), states)  # [… n, heads, width]
        mixed = graph.op("Reshape", mixed, graph.integers(-1, heads, width))
        mixed = graph.op("Transpose", mixed, perm=[1, 2, 0])  # [heads, width, rows]
        attended = graph.op("MatMul", self._of_heads("v_proj", transposed=False), mixed)
        attended = graph.op("Transpose", attended, perm=[2, 0, 1])  # [rows, heads, 64]
        shape = graph.op("Concat", self._window.rows, graph.integers(width), axis=0)
        return graph.op("Reshape", attended, shape)

    def _of_heads(self, name: str, transposed: bool) -> str:
        """A matrix [heads * 64, width] as [heads, 64, width], or [heads, width, 64]."""
        graph, key = self._graph, f"{self._name}.{name}.weight"
        shape = (self._heads, HEAD_WIDTH, self._width)

        def read() -> NDArray[np.generic]:
            return as_stored(graph.weights, key).reshape(shape)

        if not transposed:
            return graph.weight(f"{self._name}.{name}.heads", shape, read)
        return graph.weight(
            f"{self._name}.{name}.heads_transposed",
            (shape[0], shape[2], shape[1]),
            lambda: read().transpose(0, 2, 1),
        )


ATTENTIONS: Final[Mapping[CacheKind, type[SelfAttention]]] = {
    CacheKind.KEYS_AND_VALUES: KeysAndValues,
    CacheKind.STATES: States,
}
