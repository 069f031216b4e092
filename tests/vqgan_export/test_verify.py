"""Verification: a sound file passes, and each way of being wrong has its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rowcast_export.errors import VerificationFailed
from rowcast_export.manifest import Exported
from rowcast_export.verify import Reference, verify

Tamper = Callable[[onnx.ModelProto], None]


def test_a_sound_file_passes_and_is_measured(exported: Exported, reference: Reference) -> None:
    steps: list[tuple[str, int, int]] = []
    agreement = verify(
        exported.path,
        reference,
        exported.metadata,
        threads=1,
        on_progress=lambda what, done, total: steps.append((what, done, total)),
    )
    assert agreement == exported.agreement
    assert agreement.grids == 14
    assert agreement.value_difference < 1e-4
    assert agreement.bytes_within_one_share == 1.0
    assert [done for _, done, _ in steps] == [0, *range(14), 14]


def changed_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "decoder.conv_in.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0, 1, 1] += 1.0
    tensor.raw_data = values.tobytes()


def poisoned_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "post_quant_conv.bias")
    tensor.raw_data = np.full(32, np.nan, dtype=np.float32).tobytes()


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "picture"
    model.graph.output[0].name = "picture"


def renamed_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "tokens"
    for node in model.graph.node:
        node.input[:] = ["tokens" if name == "ids" else name for name in node.input]


def turn_ids(model: onnx.ModelProto) -> None:
    """Read the grid down instead of across."""
    for node in model.graph.node:
        node.input[:] = ["turned" if name == "ids" else name for name in node.input]
    node = helper.make_node("Transpose", ["ids"], ["turned"], perm=[0, 2, 1])
    model.graph.node.insert(0, node)


def mirrored(model: onnx.ModelProto) -> None:
    """Turn the grid and the picture: shapes are right and the picture is not."""
    turn_ids(model)
    model.graph.node[-1].output[0] = "sideways"
    model.graph.node.append(
        helper.make_node("Transpose", ["sideways"], ["pixels"], perm=[0, 1, 3, 2])
    )


def swapped_channels(model: onnx.ModelProto) -> None:
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.raw_data = numpy_helper.to_array(tensor)[::-1].tobytes()


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def narrow_ids(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def unclipped(model: onnx.ModelProto) -> None:
    [clip] = [node for node in model.graph.node if node.op_type == "Clip"]
    clip.input[:] = clip.input[:1]


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def another_name(model: onnx.ModelProto) -> None:
    next(p for p in model.metadata_props if p.key == "rowcast.model").value = "another"


@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (changed_weight, "values differ by"),
        (swapped_channels, "values differ by"),
        (mirrored, "values differ by"),
        (turn_ids, "shape: found"),
        (poisoned_weight, "NaN or infinity from ONNX Runtime"),
        (unclipped, "not in 0..1"),
        (renamed_output, "outputs: found .*picture"),
        (renamed_input, "inputs: found .*tokens"),
        (fixed_batch, "inputs: found .*1, 'rows', 'cols'"),
        (narrow_ids, "inputs: found .*INT32"),
        (foreign_operator, "opset: found .*com.microsoft"),
        (another_name, "metadata: found .*another"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_named(
    exported: Exported, reference: Reference, tmp_path: Path, tamper: Tamper, complaint: str
) -> None:
    model = onnx.load(exported.path)
    tamper(model)
    onnx.save(model, tmp_path / "tampered.onnx")
    with pytest.raises(VerificationFailed, match=complaint):
        verify(tmp_path / "tampered.onnx", reference, exported.metadata, threads=1)


def test_a_wrong_self_test_is_a_fault(
    exported: Exported, reference: Reference, tmp_path: Path
) -> None:
    fields = json.loads(exported.metadata["rowcast.self_test"])
    fields["thumbnail"][5] += 3
    metadata = {**exported.metadata, "rowcast.self_test": json.dumps(fields)}
    model = onnx.load(exported.path)
    helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "tampered.onnx")
    with pytest.raises(VerificationFailed, match="thumbnail differs by 3"):
        verify(tmp_path / "tampered.onnx", reference, metadata, threads=1)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_a_fault(
    exported: Exported, reference: Reference, tmp_path: Path, share: float
) -> None:
    data = exported.path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VerificationFailed, match="not a valid ONNX file"):
        verify(tmp_path / "cut.onnx", reference, exported.metadata, threads=1)
