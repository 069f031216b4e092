"""DalleBart's encoder as an ONNX graph, built from the weights with `onnx` alone.

The fast path of `dalle_bart.py`, which is its reference. Every size follows from the shapes of the
weights; a head is 64 wide in every checkpoint of the family.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from .facts import HEAD_WIDTH, PAD, Weights, layer_count
from .graph_builder import Graph, Store, floats, store_inside


def encoder_graph(
    encoder: Weights, decoder: Weights, store: Store = store_inside
) -> onnx.ModelProto:
    """The encoder, and the decoder's cross-attention keys and values of its states: run once a
    text.

    ``text_ids`` [batch, tokens] int64, tokens as many as the text has, or more with padding ->
    ``bias`` [batch, 1, 1, 1, 1, tokens] and, for each decoder layer l, ``cross_keys_l`` [batch, 1,
    1, heads, 64, tokens] and ``cross_values_l`` [batch, 1, 1, heads, tokens, 64], float32: of one
    stream, for any number of a picture's tokens.
    """
    graph = Graph(encoder, store)
    not_pad = graph.op("Not", graph.op("Equal", "text_ids", graph.integers(PAD)))
    bias = graph.masked_bias(graph.op("Unsqueeze", not_pad, graph.integers(1, 2)))
    graph.op("Unsqueeze", bias, graph.integers(1, 2), output="bias")
    x = graph.op("Gather", graph.table("embed_tokens.weight"), "text_ids")
    count = graph.op("Shape", "text_ids", start=1, end=2)
    places = graph.table("embed_positions.weight")
    x = graph.op("Add", x, graph.op("Slice", places, graph.integers(0), count))
    x = graph.layer_norm(x, "layernorm_embedding")
    for layer in range(layer_count(encoder)):
        name = f"layers.{layer}"
        normed = graph.layer_norm(x, f"{name}.pre_self_attn_layer_norm")
        queries = graph.heads(graph.linear(normed, f"{name}.self_attn.q_proj"))
        keys = graph.keys(graph.linear(normed, f"{name}.self_attn.k_proj"))
        values = graph.heads(graph.linear(normed, f"{name}.self_attn.v_proj"))
        scores = graph.op("Add", graph.op("MatMul", graph.scaled(queries), keys), bias)
        weights = graph.op("Softmax", scores, axis=-1)
        attended = graph.merge(graph.op("MatMul", weights, values))
        attended = graph.linear(attended, f"{name}.self_attn.out_proj")
        x = graph.op("Add", x, graph.layer_norm(attended, f"{name}.self_attn_layer_norm"))
        x = graph.op("Add", x, graph.gated_linear_unit(x, f"{name}.glu"))
    state = graph.layer_norm(x, "final_ln")

    cross = graph.with_weights(decoder, "decoder.")
    heads = cross.width // HEAD_WIDTH
    outputs = [floats("bias", "batch", 1, 1, 1, 1, "tokens")]
    one = cross.integers(1, 2)
    for layer in range(layer_count(decoder)):
        name = f"layers.{layer}.encoder_attn"
        keys = cross.keys(cross.linear(state, f"{name}.k_proj"))
        cross.op("Unsqueeze", keys, one, output=f"cross_keys_{layer}")
        values = cross.heads(cross.linear(state, f"{name}.v_proj"))
        cross.op("Unsqueeze", values, one, output=f"cross_values_{layer}")
        of_heads = "batch", 1, 1, heads
        outputs.append(floats(f"cross_keys_{layer}", *of_heads, HEAD_WIDTH, "tokens"))
        outputs.append(floats(f"cross_values_{layer}", *of_heads, "tokens", HEAD_WIDTH))
    text = helper.make_tensor_value_info("text_ids", TensorProto.INT64, ["batch", "tokens"])
    return graph.model("encoder", [text], outputs)
