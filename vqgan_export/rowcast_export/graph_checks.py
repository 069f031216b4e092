"""Static checks of a written ONNX file: operators, names, types, axes and metadata.

What a graph computes is verify.py's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from .errors import VerificationFailed


def agree(what: str, found: object, wanted: object) -> None:
    """Raise VerificationFailed where two descriptions are not the same."""
    if found != wanted:
        raise VerificationFailed(f"{what}: found {found}, wanted {wanted}")


def check_graph(path: Path, metadata: Mapping[str, str], side: int, norms: int) -> None:
    """Raise VerificationFailed unless the file is the graph of a decoder.

    That is a valid one, of plain operators with so many norms in single precision, from ids to
    pixels, ``side`` of them a token, with this metadata.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf's, onnx's and the operating system's
        raise VerificationFailed(f"not a valid ONNX file: {error}") from error
    graph = model.graph
    opsets = {item.domain: str(item.version) for item in model.opset_import}
    agree("opset", opsets, {"": metadata["rowcast.opset"]})
    outside = sorted(t.name for t in graph.initializer if t.external_data)
    agree("weights in other files", outside, [])
    agree("local functions", len(model.functions), 0)
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in graph.node if n.domain})
    agree("operators outside ai.onnx", foreign, [])
    found = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    agree("InstanceNormalization nodes", len(found), norms)
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    norm_kinds = {kinds.get(name) for node in found for name in node.input[1:]}
    agree("type of the norms", norm_kinds, {onnx.TensorProto.FLOAT} if norms else set())
    ids = "ids", "INT64", ["batch", "rows", "cols"]
    times = f"{side}*" if side > 1 else ""
    pixels = "pixels", "FLOAT", ["batch", 3, f"{times}rows", f"{times}cols"]
    agree("inputs", [_signature(value) for value in graph.input], [ids])
    agree("outputs", [_signature(value) for value in graph.output], [pixels])
    agree("metadata", {item.key: item.value for item in model.metadata_props}, dict(metadata))


def _signature(value: onnx.ValueInfoProto) -> tuple[str, str, list[str | int]]:
    """Name, element type, axes; a fixed axis is a number, a free one its name."""
    tensor = value.type.tensor_type
    axes = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), axes
