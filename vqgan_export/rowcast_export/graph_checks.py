"""Static checks of a written ONNX file: operators, names, types, axes and metadata.

What a graph computes is verify.py's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from .errors import VerificationFailed

Signature = tuple[str, str, list[str | int]]  # name, element type, axes


def agree(what: str, found: object, wanted: object) -> None:
    """Raise VerificationFailed where two descriptions are not the same."""
    if found != wanted:
        raise VerificationFailed(f"{what}: found {found}, wanted {wanted}")


def check_operators(path: Path, opset: str, norms: int) -> onnx.ModelProto:
    """The model of a file of plain operators with so many norms. Raises VerificationFailed."""
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf's, onnx's and the operating system's
        raise VerificationFailed(f"not a valid ONNX file: {error}") from error
    agree("opset", {item.domain: str(item.version) for item in model.opset_import}, {"": opset})
    outside = sorted(t.name for t in model.graph.initializer if t.external_data)
    agree("weights in other files", outside, [])
    agree("local functions", len(model.functions), 0)
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain})
    agree("operators outside ai.onnx", foreign, [])
    found = sum(node.op_type == "InstanceNormalization" for node in model.graph.node)
    agree("InstanceNormalization nodes", found, norms)
    return model


def check_interface(
    model: onnx.ModelProto,
    inputs: Sequence[Signature],
    outputs: Sequence[Signature],
    metadata: Mapping[str, str],
) -> None:
    """Raise VerificationFailed unless inputs, outputs and metadata are those wanted."""
    agree("inputs", [_signature(value) for value in model.graph.input], list(inputs))
    agree("outputs", [_signature(value) for value in model.graph.output], list(outputs))
    agree("metadata", {item.key: item.value for item in model.metadata_props}, dict(metadata))


def _signature(value: onnx.ValueInfoProto) -> Signature:
    """Name, element type, axes; a fixed axis is a number, a free one its name."""
    tensor = value.type.tensor_type
    axes = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), axes
