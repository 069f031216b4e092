"""Quantisation of the fp32 graph: half precision, or eight bits for the weights.

fp16: convolutions and the table of codes are half precision. Norms, activations, the products of
attention and the sums of residual blocks stay fp32, because variances and sums overflow half
precision on some GPUs.

int8: weights alone, one scale per output channel (per code in the table), turned back into fp32 by
Cast and Mul. Runtimes fold these when they load the file, so it decodes at the speed of fp32; no
operator is needed that onnxruntime-web lacks. Norms and biases stay as they are.

This module must not know torch, nor what the graph depicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, TypeGuard

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]

HALF_INPUTS: Final = {"Conv": (0, 1, 2), "Resize": (0,), "Gather": (0,), "Transpose": ()}
SMALLEST_QUANTISED: Final = 4096  # weights; a smaller tensor is not worth the error
LARGEST_INT8: Final = 127


def convert(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of the fp32 graph in one of ``settings.PRECISIONS``."""
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    CONVERSIONS[precision](converted.graph)
    for number, node in enumerate(converted.graph.node):
        node.name = f"{node.op_type}_{number}"
    return converted


def _to_half(graph: onnx.GraphProto) -> None:
    """Convert to half precision. A value whose type changes is cast once for all its users."""
    weights = _weights(graph)
    half: set[str] = set()  # values that are half precision
    casts: dict[tuple[str, int], str] = {}
    nodes: list[NodeProto] = []

    def cast(name: str, kind: int) -> str:
        if (name, kind) not in casts:
            casts[name, kind] = f"{name}_as_{TensorProto.DataType.Name(kind).lower()}"
            nodes.append(helper.make_node("Cast", [name], [casts[name, kind]], to=kind))
        return casts[name, kind]

    for node in graph.node:
        passes = node.op_type == "Transpose" and node.input[0] in half
        wanted = HALF_INPUTS.get(node.op_type, ())
        if node.op_type == "Gather" and not _is_float(weights.get(node.input[0])):
            wanted = ()  # a gather of sizes, not of codes
        for index, name in enumerate(node.input):
            if index in wanted and name in weights:
                weights[name].CopyFrom(_half(weights[name]))
            elif index in wanted and name not in half:
                node.input[index] = cast(name, TensorProto.FLOAT16)
            elif index not in wanted and name in half and not passes:
                node.input[index] = cast(name, TensorProto.FLOAT)
        nodes.append(node)
        if not wanted and not passes:
            continue
        if node.op_type == "Conv":
            [output] = node.output
            node.output[0] = f"{output}_half"
            nodes.append(helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT))
        else:
            half.add(node.output[0])
    _replace(graph, nodes)


def _half(tensor: TensorProto) -> TensorProto:
    with np.errstate(over="ignore"):  # the comparison with torch sees an infinity
        values = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(values, tensor.name)


def _to_int8(graph: onnx.GraphProto) -> None:
    """Quantise each large weight to int8 and a scale, multiplied where it is used."""
    weights = _weights(graph)
    nodes: list[NodeProto] = []
    done: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Gather" and _is_large(weights.get(node.input[0])):
            nodes += _int8_lookup(graph, node, weights[node.input[0]])
            continue
        if node.op_type == "Conv" and _is_large(weights.get(node.input[1])):
            name = node.input[1]
            if name not in done:
                done[name] = f"{name}.float"
                _quantise(graph, weights[name])
                nodes.append(
                    helper.make_node("Cast", [name], [f"{name}.whole"], to=TensorProto.FLOAT)
                )
                nodes.append(
                    helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [done[name]])
                )
            node.input[1] = done[name]
        nodes.append(node)
    _replace(graph, nodes)


def _int8_lookup(
    graph: onnx.GraphProto, node: NodeProto, table: TensorProto
) -> Iterable[NodeProto]:
    """Look codes and their scales up apart: the table is never dequantised as a whole."""
    codes, ids = node.input
    [output] = node.output
    _quantise(graph, table)
    for name in (codes, f"{codes}.scale"):
        yield helper.make_node("Gather", [name, ids], [f"{name}.found"], axis=0)
    yield helper.make_node("Cast", [f"{codes}.found"], [f"{codes}.whole"], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [f"{codes}.whole", f"{codes}.scale.found"], [output])


def _quantise(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    """Put int8 in its place and its scale, one for each entry of the first axis, beside it."""
    values: Floats = numpy_helper.to_array(tensor)
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / LARGEST_INT8, 1).astype(np.float32)
    whole = np.clip(np.rint(values / scale), -LARGEST_INT8, LARGEST_INT8).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
    graph.initializer.append(numpy_helper.from_array(scale, f"{tensor.name}.scale"))


def _weights(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _is_float(tensor: TensorProto | None) -> TypeGuard[TensorProto]:
    return tensor is not None and tensor.data_type == TensorProto.FLOAT


def _is_large(tensor: TensorProto | None) -> TypeGuard[TensorProto]:
    return _is_float(tensor) and math.prod(tensor.dims) >= SMALLEST_QUANTISED


def _replace(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    graph.ClearField("node")
    graph.node.extend(copies)


CONVERSIONS: Final[dict[str, Callable[[onnx.GraphProto], None]]] = {
    "fp32": lambda graph: None,
    "fp16": _to_half,
    "int8": _to_int8,
}
