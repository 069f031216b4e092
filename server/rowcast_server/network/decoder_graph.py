"""DalleBart's decoder step as an ONNX graph, built from the weights with `onnx` alone.

The fast path of `dalle_bart.py`, which is its reference. For classifier-free guidance a picture has
two streams: 0 the conditional one, with its text, and 1 the unconditional one. The first layer's
self-attention sees nothing of a text, so there the two are one.

Attention always runs over all positions of the grid, masked, so that its sums are made in the same
order whatever the position and the company: the bits of a picture depend on that picture alone.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from .facts import HEAD_WIDTH, STREAMS, CacheKind, Weights, layer_count
from .graph_builder import Graph, Store, floats, store_inside
from .self_attention import ATTENTIONS, Window
from .tensors import shape_of


def decoder_step_graph(
    decoder: Weights,
    codebook_size: int,
    cache: CacheKind,
    store: Store = store_inside,
    bits: int = 32,
) -> onnx.ModelProto:
    """One decoder step: tokens to the guided logits of the next ones.

    Inputs: ``tokens`` [pictures, n] and ``positions`` [pictures] int64, n tokens of each picture,
    the first of them at its position; ``guidance`` [pictures] float32; the keys and values of texts
    (see `_TextAttention`); and the caches of self_attention.py.

    Outputs: ``logits`` [pictures, n, codebook_size], and each cache with the tokens' entries, under
    the name `updated`: bound to the memory of the input, it is changed in place.

    A step has one token of each picture. A window has several, which see each other; its bits are
    those of as many steps, since no sum is made in another order for having more rows beside it.
    The matrices are kept in ``bits``, except those that a cache of states multiplies heads
    with.
    """
    graph = Graph(decoder, store, bits=bits)
    grid_positions, _ = shape_of(decoder, "embed_positions.weight")
    pictures, tokens = "pictures", "n"
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [pictures, tokens]),
        helper.make_tensor_value_info("positions", TensorProto.INT64, [pictures]),
        floats("guidance", pictures),
    ]
    outputs = [floats("logits", pictures, tokens, codebook_size)]

    count = graph.op("Squeeze", graph.op("Shape", "tokens", start=1, end=2))
    steps = graph.op("Range", graph.number(0), count, graph.number(1))
    first = graph.op("Unsqueeze", "positions", graph.integers(1))
    positions = graph.op("Add", first, steps)  # [pictures, n]
    embedded = graph.op("Gather", graph.table("embed_tokens.weight"), "tokens")
    placed = graph.op("Gather", graph.table("embed_positions.weight"), positions)
    x = graph.layer_norm(graph.op("Add", embedded, placed), "layernorm_embedding")
    x = graph.op("Unsqueeze", x, graph.integers(1))  # [pictures, 1 stream, n, width]

    text = _TextAttention(graph)
    window = Window(graph, x, positions, grid_positions)
    for layer in range(layer_count(decoder)):
        name = f"layers.{layer}"
        attention = ATTENTIONS[cache](graph, window, layer)
        normed = graph.layer_norm(x, f"{name}.pre_self_attn_layer_norm")
        attended = graph.linear(attention.attend(normed), f"{name}.self_attn.out_proj")
        inputs += attention.inputs
        outputs += attention.outputs
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.self_attn_layer_norm"))
        if layer == 0:
            x = graph.op("Concat", *[x] * STREAMS, axis=1)
            window = window.of_streams(x)

        normed = graph.layer_norm(x, f"{name}.pre_encoder_attn_layer_norm")
        attended = graph.linear(text.attend(normed, layer), f"{name}.encoder_attn.out_proj")
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.encoder_attn_layer_norm"))

        x = graph.op("Add", x, graph.gated_linear_unit(x, f"{name}.glu"))
    guided = _guided(graph, graph.layer_norm(x, "final_ln"))
    # Only codes below codebook_size are ever drawn; the rest of lm_head is left out.
    graph.op("Identity", graph.linear(guided, "lm_head", rows=codebook_size), output="logits")
    return graph.model("decoder_step", inputs + text.inputs, outputs)


def _guided(graph: Graph, states: str) -> str:
    """Classifier-free guidance, u + s (c - u), of the streams' states [pictures, 2, n, width] ->
    [pictures, n, width].

    lm_head is linear, so its product of this is the guided logits, for half the work.
    """
    conditional, unconditional = graph.parts(states, 1, 1, axis=1)
    scale = graph.op("Unsqueeze", "guidance", graph.integers(1, 2, 3))
    difference = graph.op("Sub", conditional, unconditional)
    guided = graph.op("Add", unconditional, graph.op("Mul", scale, difference))
    return graph.op("Squeeze", guided, graph.integers(1))


class _TextAttention:
    """Cross-attention of each stream to its text, over the encoder's arrays as they are.

    ``bias``, ``cross_keys_l``, ``cross_values_l`` are of the pictures' texts, padded to one length;
    ``no_text_keys_l``, ``no_text_values_l`` of the empty one, whose length they have: [1, …].
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs = [floats("bias", "pictures", 1, 1, 1, 1, "text")]

    def attend(self, normed: str, layer: int) -> str:
        """[pictures, 2, n, width] -> the same shape, all heads side by side."""
        graph, heads = self._graph, self._graph.width // HEAD_WIDTH
        name = f"layers.{layer}.encoder_attn"
        queries = graph.scaled(graph.linear(normed, f"{name}.q_proj"))
        split = graph.integers(0, STREAMS, -1, heads, 1, HEAD_WIDTH)
        conditional, unconditional = graph.parts(graph.op("Reshape", queries, split), 1, 1, axis=1)
        mixed = [
            self._over("cross", layer, conditional, "pictures", "text", "bias"),
            self._over("no_text", layer, unconditional, 1, "no_text", None),
        ]
        together = graph.op("Concat", *mixed, axis=1)
        return graph.op("Reshape", together, graph.integers(0, STREAMS, -1, graph.width))

    def _over(
        self, kind: str, layer: int, queries: str, batch: str | int, text: str, bias: str | None
    ) -> str:
        """Attend from queries of one stream [pictures, 1, n, heads, 1, 64] to a text -> the same
        shape."""
        graph, heads = self._graph, self._graph.width // HEAD_WIDTH
        keys, values = f"{kind}_keys_{layer}", f"{kind}_values_{layer}"
        self.inputs += [
            floats(keys, batch, 1, 1, heads, HEAD_WIDTH, text),
            floats(values, batch, 1, 1, heads, text, HEAD_WIDTH),
        ]
        scores = graph.op("MatMul", queries, keys)  # [pictures, 1, n, heads, 1, text]
        if bias is not None:
            scores = graph.op("Add", scores, bias)
        return graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)
