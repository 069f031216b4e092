"""DalleBart's encoder and decoder step as ONNX graphs, built from the weights with `onnx` alone.

The graphs are the fast path of `dalle_bart.py`, which is their reference. Every size follows from
the shapes of the weights; a head is 64 wide in every checkpoint of the family.

The decoder step takes one token for each batch row, each row at a position of its own. Attention
always runs over all positions of the grid, masked, so that its sums are made in the same order
whatever the position and the company: the bits of a row depend on that row alone.

The same graph takes a window of given tokens: rows of one stream at consecutive positions, which
see each other's keys and values in the places where a step would find them in the cache.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from .graph_builder import HEAD_WIDTH, Graph, Store, Weights, floats, layer_count, store_inside
from .tensors import shape_of

PAD_TOKEN: Final = 1


def encoder_graph(
    encoder: Weights, decoder: Weights, store: Store = store_inside
) -> onnx.ModelProto:
    """Text to what the decoder attends to, computed once a picture.

    ``text_ids`` [batch, tokens] int64, tokens as many as the text has, or more with padding ->
    ``bias`` [batch, 1, 1, tokens] and, for each decoder layer l, ``cross_keys_l``
    [batch, heads, 64, tokens] and ``cross_values_l`` [batch, heads, tokens, 64], float32.
    """
    graph = Graph(encoder, store)
    tokens = 0  # in a Reshape: as the input has them
    not_pad = graph.op("Not", graph.op("Equal", "text_ids", graph.integers(PAD_TOKEN)))
    allowed = graph.op("Unsqueeze", not_pad, graph.integers(1, 2))
    graph.op("Identity", graph.masked_bias(allowed), output="bias")
    x = graph.op("Gather", graph.table("embed_tokens.weight"), "text_ids")
    count = graph.op("Shape", "text_ids", start=1, end=2)
    places = graph.table("embed_positions.weight")
    x = graph.op("Add", x, graph.op("Slice", places, graph.integers(0), count))
    x = graph.layer_norm(x, "layernorm_embedding")
    for layer in range(layer_count(encoder)):
        name = f"layers.{layer}"
        normed = graph.layer_norm(x, f"{name}.pre_self_attn_layer_norm")
        queries = graph.heads(graph.linear(normed, f"{name}.self_attn.q_proj"), tokens)
        keys = graph.keys(graph.linear(normed, f"{name}.self_attn.k_proj"), tokens)
        values = graph.heads(graph.linear(normed, f"{name}.self_attn.v_proj"), tokens)
        scores = graph.op("Add", graph.scores(queries, keys), "bias")
        weights = graph.op("Softmax", scores, axis=-1)
        attended = graph.merge(graph.op("MatMul", weights, values), tokens)
        attended = graph.linear(attended, f"{name}.self_attn.out_proj")
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.self_attn_layer_norm"))
        x = graph.op("Add", x, graph.gated_linear_unit(x, f"{name}.glu"))
    state = graph.layer_norm(x, "final_ln")

    cross = graph.with_weights(decoder, "decoder.")
    heads = shape_of(decoder, "embed_positions.weight")[1] // HEAD_WIDTH
    outputs = [floats("bias", "batch", 1, 1, "tokens")]
    for layer in range(layer_count(decoder)):
        name = f"layers.{layer}.encoder_attn"
        keys = cross.keys(cross.linear(state, f"{name}.k_proj"), tokens)
        cross.op("Identity", keys, output=f"cross_keys_{layer}")
        values = cross.heads(cross.linear(state, f"{name}.v_proj"), tokens)
        cross.op("Identity", values, output=f"cross_values_{layer}")
        outputs.append(floats(f"cross_keys_{layer}", "batch", heads, HEAD_WIDTH, "tokens"))
        outputs.append(floats(f"cross_values_{layer}", "batch", heads, "tokens", HEAD_WIDTH))
    text = helper.make_tensor_value_info("text_ids", TensorProto.INT64, ["batch", "tokens"])
    return graph.model("encoder", [text], outputs)


class _Window:
    """How the rows of one stream share its cache: rows [streams * n] are seen as [streams, n].

    Every product is still made for one row and one head, as in a step, so its bits are a step's.
    """

    def __init__(self, graph: Graph, heads: int, positions: int) -> None:
        self._graph, self._heads, self._positions = graph, heads, positions
        streams = graph.op("Shape", "bias", start=0, end=1)
        size = graph.op("Div", graph.op("Shape", "tokens", start=0, end=1), streams)
        self._is_step = graph.op("Equal", size, graph.integers(1))
        self._first = graph.op("Slice", "positions", graph.integers(0), graph.integers(1))
        self._end = graph.op("Add", self._first, size)
        rest = [graph.integers(heads), graph.integers(1), graph.integers(-1)]
        self._row_shape = graph.op("Concat", streams, size, *rest, axis=0)
        self._new_shape = graph.op("Concat", streams, size, rest[0], rest[2], axis=0)
        self.bias = self.of_all_rows(graph, "bias")

    def of_all_rows(self, graph: Graph, of_stream: str) -> str:
        return graph.op("Unsqueeze", of_stream, graph.integers(1))

    def over_text(self, queries: str, keys: str) -> str:
        """[rows, heads, 1, 64] over the keys of the text -> [streams, n, heads, 1, text]."""
        split = self._graph.op("Reshape", queries, self._row_shape)
        return self._graph.op("MatMul", split, self.of_all_rows(self._graph, keys))

    def scores(self, queries: str, cache: str, new_keys: str) -> str:
        """[rows, heads, 1, 64] over keys, cached and new -> [rows, heads, 1, positions]."""
        return self._attend(queries, cache, new_keys, axis=3, width=self._positions)

    def mixed(self, weights: str, cache: str, new_values: str) -> str:
        """[rows, heads, 1, positions] over values, cached and new -> [rows, heads, 1, 64]."""
        return self._attend(weights, cache, new_values, axis=2, width=HEAD_WIDTH)

    def _attend(self, left: str, cache: str, new: str, axis: int, width: int) -> str:
        def in_window(body: Graph) -> str:
            # The window's entries [rows, heads, 64] in their places along ``axis`` of the cache.
            entries = body.op("Reshape", new, self._new_shape)  # [streams, n, heads, 64]
            order = [0, 2, 3, 1] if axis == 3 else [0, 2, 1, 3]
            along = body.integers(axis)
            before = body.op("Slice", cache, body.integers(0), self._first, along)
            after = body.op("Slice", cache, self._end, body.integers(self._positions), along)
            entries = body.op("Transpose", entries, perm=order)
            whole = body.op("Concat", before, entries, after, axis=axis)
            split = body.op("Reshape", left, self._row_shape)  # [streams, n, heads, 1, …]
            product = body.op("MatMul", split, self.of_all_rows(body, whole))
            return body.op("Reshape", product, body.integers(-1, self._heads, 1, width))

        return self._graph.either(
            self._is_step,
            lambda body: body.op("MatMul", left, cache),
            in_window,
            "rows",
            self._heads,
            1,
            width,
        )


def decoder_step_graph(
    decoder: Weights, codebook_size: int, store: Store = store_inside, int8: bool = False
) -> onnx.ModelProto:
    """One decoder step: the logits of the next token for each row. ``int8`` keeps its matrices,
    also those of the window, in eight bits.

    Inputs: ``tokens`` and ``positions`` [rows] int64, ``bias`` and, for each layer l,
    ``cross_keys_l``, ``cross_values_l`` as the encoder gives them, ``self_keys_l``
    [streams, heads, 64, positions] and ``self_values_l`` [streams, heads, positions, 64]: the
    cache, of which only entries before the row's position are read.
    Outputs: ``logits`` [rows, codebook_size] and, for each layer, ``new_keys_l`` and
    ``new_values_l`` [rows, heads, 64], which the caller stores at the row's position.

    As many rows as streams are a step, each row at a position of its own. n times as many are a
    window: n rows for each stream in turn, all streams at the same n consecutive positions.
    """
    graph = Graph(decoder, store, int8=int8)
    grid_positions, width = shape_of(decoder, "embed_positions.weight")
    heads = width // HEAD_WIDTH
    text_tokens = "text_tokens"
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["rows"]),
        helper.make_tensor_value_info("positions", TensorProto.INT64, ["rows"]),
        floats("bias", "streams", 1, 1, text_tokens),
    ]
    outputs = [floats("logits", "rows", codebook_size)]
    window = _Window(graph, heads, grid_positions)

    places = graph.constant("places", np.arange(grid_positions, dtype=np.int64))
    here_column = graph.op("Unsqueeze", "positions", graph.integers(1, 2, 3))  # [batch, 1, 1, 1]
    is_here = graph.op("Equal", places, here_column)  # [batch, 1, 1, positions]
    past_bias = graph.masked_bias(graph.op("LessOrEqual", places, here_column))

    embedded = graph.op("Gather", graph.table("embed_tokens.weight"), "tokens")
    placed = graph.op("Gather", graph.table("embed_positions.weight"), "positions")
    x = graph.op("Add", embedded, placed)
    x = graph.op("Unsqueeze", x, graph.integers(1))  # [batch, 1, width]
    x = graph.layer_norm(x, "layernorm_embedding")
    for layer in range(layer_count(decoder)):
        name = f"layers.{layer}"
        inputs += [
            floats(f"cross_keys_{layer}", "streams", heads, HEAD_WIDTH, text_tokens),
            floats(f"cross_values_{layer}", "streams", heads, text_tokens, HEAD_WIDTH),
            floats(f"self_keys_{layer}", "streams", heads, HEAD_WIDTH, grid_positions),
            floats(f"self_values_{layer}", "streams", heads, grid_positions, HEAD_WIDTH),
        ]
        outputs += [
            floats(f"new_keys_{layer}", "rows", heads, HEAD_WIDTH),
            floats(f"new_values_{layer}", "rows", heads, HEAD_WIDTH),
        ]
        normed = graph.layer_norm(x, f"{name}.pre_self_attn_layer_norm")
        queries, keys, values = graph.linears(
            normed, f"{name}.self_attn", "q_proj", "k_proj", "v_proj"
        )
        queries, new_keys = graph.heads(queries, 1), graph.keys(keys, 1)
        new_values = graph.heads(values, 1)
        graph.op("Squeeze", new_keys, graph.integers(3), output=f"new_keys_{layer}")
        graph.op("Squeeze", new_values, graph.integers(2), output=f"new_values_{layer}")
        # The token's own key and value are not in the cache yet: its score takes the place of the
        # stale one at its position, and its value is added with the weight found there.
        scores = graph.op(
            "Where",
            is_here,
            graph.scores(queries, new_keys),
            window.scores(graph.scaled(queries), f"self_keys_{layer}", new_keys),
        )
        weights = graph.op("Softmax", graph.op("Add", scores, past_bias), axis=-1)
        past = graph.op("Where", is_here, graph.scalar(0.0), weights)
        own = graph.op("Where", is_here, weights, graph.scalar(0.0))
        own = graph.op("ReduceSum", own, graph.integers(3), keepdims=1)  # [batch, heads, 1, 1]
        attended = graph.op(
            "Add",
            window.mixed(past, f"self_values_{layer}", new_values),
            graph.op("Mul", own, new_values),
        )
        attended = graph.linear(graph.merge(attended, 1), f"{name}.self_attn.out_proj")
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.self_attn_layer_norm"))

        normed = graph.layer_norm(x, f"{name}.pre_encoder_attn_layer_norm")
        queries = graph.heads(graph.linear(normed, f"{name}.encoder_attn.q_proj"), 1)
        scores = window.over_text(graph.scaled(queries), f"cross_keys_{layer}")
        weights = graph.op("Softmax", graph.op("Add", scores, window.bias), axis=-1)
        attended = graph.op("MatMul", weights, window.of_all_rows(graph, f"cross_values_{layer}"))
        attended = graph.op("Reshape", attended, graph.integers(-1, 1, width))
        attended = graph.linear(attended, f"{name}.encoder_attn.out_proj")
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.encoder_attn_layer_norm"))

        x = graph.op("Add", x, graph.gated_linear_unit(x, f"{name}.glu"))
    x = graph.layer_norm(graph.op("Squeeze", x, graph.integers(1)), "final_ln")
    # Only codes below codebook_size are ever drawn; the rest of lm_head is left out.
    graph.op("Identity", graph.linear(x, "lm_head", rows=codebook_size), output="logits")
    return graph.model("decoder_step", inputs, outputs)
