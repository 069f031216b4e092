"""Janus' step as an ONNX graph, built from the weights with `onnx` alone.

The fast path of reference.py. One graph reads texts and draws: its input table holds the codes
through the aligner, the begin-of-image token's embedding, and those of the whole text vocabulary.

Attention always runs over all places of the cache, masked, so that its sums are made in the same
order whatever the place and the company.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...network.facts import Weights
from ...network.graph_builder import Graph, Store, floats, store_inside
from ...network.self_attention import Window, updated
from ...network.tensors import as_stored
from .sizes import (
    ALIGNER,
    EMBED_CODES,
    EMBED_TEXT,
    HEAD,
    HEAD_WIDTH,
    LAST_NORM,
    RMS_NORM_EPSILON,
    JanusSizes,
    rotations,
)

BLOCK_ROWS = 1024  # of the input table, made at once


def janus_step_graph(
    weights: Weights,
    begin_of_image: int,
    places: int,
    store: Store = store_inside,
    bits: int = 32,
) -> onnx.ModelProto:
    """A pass over tokens, to the guided logits of the next ones.

    Inputs: ``tokens`` [pictures, n] and ``positions`` [pictures] int64, n tokens of each picture,
    the first of them at its place; ``guidance`` [pictures, streams] float32, what each stream
    counts for; and for each layer l the caches ``self_keys_l`` [pictures, streams, 1, heads, 128,
    places] and ``self_values_l`` [pictures, streams, 1, heads, places, 128].

    Tokens are rows of what `input_table` makes. Outputs: ``logits`` [pictures, n, codes], and each
    cache with the tokens' entries under the name `updated`: bound to the memory of the input, it is
    changed in place. Streams are 2, or 1 where a text is read. Matrices are kept in ``bits``.
    """
    sizes = JanusSizes.of(weights)
    graph = Graph(weights, store, bits=bits)
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["pictures", "n"]),
        helper.make_tensor_value_info("positions", TensorProto.INT64, ["pictures"]),
        floats("guidance", "pictures", "streams"),
    ]
    outputs = [floats("logits", "pictures", "n", sizes.codes)]

    count = graph.op("Squeeze", graph.op("Shape", "tokens", start=1, end=2))
    steps = graph.op("Range", graph.number(0), count, graph.number(1))
    first = graph.op("Unsqueeze", "positions", graph.integers(1))
    here = graph.op("Add", first, steps)  # [pictures, n]

    rows = sizes.codes + 1 + sizes.vocabulary
    table = graph.weight(
        f"input_table_{begin_of_image}",
        (rows, sizes.width),
        lambda: input_table(weights, begin_of_image),
    )
    x = graph.op("Unsqueeze", graph.op("Gather", table, "tokens"), graph.integers(1))
    streams = graph.op("Concat", graph.op("Shape", "guidance"), graph.integers(1, 1), axis=0)
    x = graph.op("Expand", x, streams)  # [pictures, streams, n, width]

    window = Window(graph, x, here, places)
    turn = _Rotary(graph, sizes, here, places)
    for layer in range(sizes.layers):
        name = f"layers.{layer}"
        normed = _norm(graph, x, f"{name}.input_layernorm.weight")
        attended = _attend(graph, sizes, window, turn, normed, layer)
        x = graph.op("Add", x, graph.linear(attended, f"{name}.self_attn.o_proj"))
        normed = _norm(graph, x, f"{name}.post_attention_layernorm.weight")
        gate, up = graph.linears(normed, f"{name}.mlp", "gate_proj", "up_proj")
        gated = graph.op("Mul", graph.op("Mul", gate, graph.op("Sigmoid", gate)), up)
        x = graph.op("Add", x, graph.linear(gated, f"{name}.mlp.down_proj"))
        for cache, shape in cache_shapes(sizes, layer, places).items():
            inputs.append(floats(cache, "pictures", "streams", *shape))
            outputs.append(floats(updated(cache), "pictures", "streams", *shape))

    x = _with_bias(graph, _norm(graph, x, LAST_NORM), HEAD[0])
    guided = _guided(graph, graph.op("Gelu", x))
    graph.op("Identity", _with_bias(graph, guided, HEAD[1]), output="logits")
    return graph.model("janus_step", inputs, outputs)


def cache_shapes(sizes: JanusSizes, layer: int, places: int) -> dict[str, tuple[int, ...]]:
    """The caches of a layer, by name, without their axes of pictures and streams."""
    return {
        f"self_keys_{layer}": (1, sizes.heads, HEAD_WIDTH, places),
        f"self_values_{layer}": (1, sizes.heads, places, HEAD_WIDTH),
    }


def _norm(graph: Graph, x: str, name: str) -> str:
    """Root mean square normalisation (Zhang and Sennrich, arXiv:1910.07467)."""
    scale = graph.table(name)
    return graph.op("RMSNormalization", x, scale, axis=-1, epsilon=RMS_NORM_EPSILON)


def _with_bias(graph: Graph, x: str, name: str) -> str:
    return graph.op("Add", graph.linear(x, name), graph.table(f"{name}.bias"))


def _guided(graph: Graph, states: str) -> str:
    """Classifier-free guidance of streams [pictures, streams, n, width] -> [pictures, n, width].

    Behind the head's GELU only a product and a bias follow, and the streams count for 1 together:
    that product of this is the guided logits, for half the work.
    """
    counts = graph.op("Unsqueeze", "guidance", graph.integers(2, 3))
    return graph.op("ReduceSum", graph.op("Mul", states, counts), graph.integers(1), keepdims=0)


class _Rotary:
    """Rotary positions of a pass's tokens."""

    def __init__(self, graph: Graph, sizes: JanusSizes, here: str, places: int) -> None:
        self._graph = graph
        axes = graph.integers(1, 3)
        self._cosines, self._sines = (
            graph.op("Unsqueeze", graph.op("Gather", graph.constant(name, table), here), axes)
            for name, table in zip(("cosines", "sines"), rotations(places), strict=True)
        )  # [pictures, 1, n, 1, 64]

    def __call__(self, x: str) -> str:
        """[pictures, streams, n, heads, 128] -> the same shape."""
        graph, half = self._graph, HEAD_WIDTH // 2
        left, right = graph.parts(x, half, half, axis=-1)
        turned = [
            graph.op(how, graph.op("Mul", a, self._cosines), graph.op("Mul", b, self._sines))
            for how, a, b in (("Sub", left, right), ("Add", right, left))
        ]
        return graph.op("Concat", *turned, axis=-1)


def _attend(
    graph: Graph, sizes: JanusSizes, window: Window, turn: _Rotary, normed: str, layer: int
) -> str:
    """Self-attention over the caches of a layer, before o_proj: [pictures, streams, n, width] ->
    the same shape."""
    heads = sizes.heads
    name = f"layers.{layer}.self_attn"
    split = graph.integers(0, 0, 0, heads, HEAD_WIDTH)
    queries, keys, values = (
        graph.op("Reshape", each, split)
        for each in graph.linears(normed, name, "q_proj", "k_proj", "v_proj")
    )
    keys = graph.op("Unsqueeze", turn(keys), graph.integers(2))
    keys = graph.op("Transpose", keys, perm=[0, 1, 2, 4, 5, 3])
    values = graph.op("Unsqueeze", values, graph.integers(2))
    values = graph.op("Transpose", values, perm=[0, 1, 2, 4, 3, 5])
    keys, values = (
        graph.op("TensorScatter", cache, update, "positions", output=updated(cache), axis=axis)
        for cache, update, axis in (
            (f"self_keys_{layer}", keys, 5),
            (f"self_values_{layer}", values, 4),
        )
    )
    queries = graph.op("Mul", turn(queries), graph.scalar(1 / math.sqrt(HEAD_WIDTH)))
    queries = graph.op("Unsqueeze", queries, graph.integers(4))
    scores = graph.op("MatMul", queries, keys)  # [pictures, streams, n, heads, 1, places]
    masked = graph.op("Add", scores, window.mask_bias(2))
    attended = graph.op("MatMul", graph.op("Softmax", masked, axis=-1), values)
    return graph.op("Reshape", attended, graph.integers(0, 0, 0, sizes.width))


def input_table(weights: Weights, begin_of_image: int) -> NDArray[np.float32]:
    """What a token is fed as [codes + 1 + vocabulary, width] float32: the codes' embeddings through
    the aligner, the begin-of-image token's, and those of the text's tokens."""

    def read(name: str) -> NDArray[np.float32]:
        return np.asarray(as_stored(weights, name), np.float32)

    codes, text = read(EMBED_CODES), as_stored(weights, EMBED_TEXT)
    count, width = len(codes), text.shape[1]
    table = np.empty((count + 1 + len(text), width), np.float32)
    (first, first_bias), (last, last_bias) = (
        (read(f"{name}.weight"), read(f"{name}.bias")) for name in ALIGNER
    )
    for begin in range(0, count, BLOCK_ROWS):
        block = slice(begin, min(begin + BLOCK_ROWS, count))
        table[block] = _gelu(codes[block] @ first.T + first_bias) @ last.T + last_bias
    table[count] = text[begin_of_image]
    table[count + 1 :] = text
    return table


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))), np.float32)
