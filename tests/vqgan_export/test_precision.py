"""Half precision and eight bits: smaller files, stated errors, plain operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rowcast_export import verify as verify_module
from rowcast_export.agreements import Agreement
from rowcast_export.detokenizer_file import describe, with_metadata
from rowcast_export.errors import TooCoarse, VerificationFailed
from rowcast_export.manifest import Exported
from rowcast_export.precision import convert
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.settings import parse_precisions
from rowcast_export.verify import Reference, verify
from rowcast_export.vqgan import VQGANDecoder


def converted(exported: Exported, module: VQGANDecoder, precision: str, path: Path) -> Path:
    model = onnx.load(exported.path)
    model.ClearField("metadata_props")
    model = convert(model, precision)
    metadata = describe(model, module, "tiny", "0" * 64, precision)
    path.write_bytes(with_metadata(model, metadata))
    return path


def checked(path: Path, reference: Reference) -> Agreement:
    return verify(path, reference, OnnxDetokenizer(path, 1).metadata, threads=1)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.62), ("int8", 0.45)])
def test_a_smaller_file_passes_its_own_tolerance(
    exported: Exported, module: VQGANDecoder, reference: Reference, tmp_path: Path,
    precision: str, share: float,
) -> None:  # fmt: skip
    path = converted(exported, module, precision, tmp_path / "x.onnx")
    agreement = checked(path, reference)
    assert 35 < agreement.psnr < 90  # some error, or nothing was converted
    assert path.stat().st_size < share * exported.bytes  # the graph itself does not shrink
    assert {node.domain for node in onnx.load(path).graph.node} == {""}


def test_half_precision_keeps_norms_and_sums_in_fp32(
    exported: Exported, module: VQGANDecoder, tmp_path: Path
) -> None:
    path = converted(exported, module, "fp16", tmp_path / "x.onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    seen = {
        operator: {
            kinds[name]
            for node in graph.node
            if node.op_type == operator
            for name in node.input
            if name in kinds
        }
        for operator in ("InstanceNormalization", "Conv", "Softmax", "Sigmoid", "MatMul")
    }
    assert seen.pop("Conv") == {TensorProto.FLOAT16}
    assert set(map(tuple, seen.values())) == {(TensorProto.FLOAT,)}


def test_values_that_half_precision_does_not_hold_are_a_fault(
    exported: Exported, module: VQGANDecoder, reference: Reference, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The CPU would not show it: it computes in fp32."""
    path = converted(exported, module, "fp16", tmp_path / "x.onnx")
    checked(path, reference)
    assert 1 < reference.largest < 1_000
    monkeypatch.setattr(verify_module, "LARGEST_HALF", reference.largest)
    with pytest.raises(VerificationFailed, match="fp16: a convolution reaches"):
        checked(path, reference)


def test_eight_bits_are_scaled_by_channel(exported: Exported) -> None:
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (onnx.load(exported.path), convert(onnx.load(exported.path), "int8"))
    )
    name = "decoder.conv_in.weight"
    assert after[name].dtype == np.int8
    assert after[f"{name}.scale"].shape == (32, 1, 1, 1)
    errors = np.abs(after[name] * after[f"{name}.scale"] - before[name])
    assert (errors <= after[f"{name}.scale"] / 2 + 1e-7).all()
    assert after["decoder.conv_out.weight"].dtype == np.float32  # too small to gain anything
    assert after["decoder.mid.block_1.conv1.bias"].dtype == np.float32


def test_a_large_table_of_codes_is_looked_up_in_eight_bits() -> None:
    """The tiny decoder's is too small to be quantised."""
    table = np.random.default_rng(0).normal(size=(512, 16)).astype(np.float32)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 16])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["pixels"])],
        "lookup",
        [ids],
        [pixels],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    wanted = np.array([[3, 500, 0]])[0]
    for precision, error in (("fp32", 0.0), ("fp16", 2e-3), ("int8", 2e-2)):
        small = convert(model, precision)
        if precision == "fp16":  # nothing follows that would turn it back
            small.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        found = OnnxDetokenizer(small.SerializeToString(), 1).decode(wanted)
        assert np.abs(found - table[wanted]).max() <= error
    assert len(convert(model, "int8").SerializeToString()) < table.nbytes / 2


def test_eight_bits_that_are_too_coarse_are_refused(
    exported: Exported, module: VQGANDecoder, reference: Reference, tmp_path: Path
) -> None:
    path = converted(exported, module, "int8", tmp_path / "x.onnx")
    model = onnx.load(path)
    scale = next(t for t in model.graph.initializer if t.name == "decoder.conv_in.weight.scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 2, scale.name))
    model.ClearField("metadata_props")
    metadata = describe(model, module, "tiny", "0" * 64, "int8")
    path.write_bytes(with_metadata(model, metadata))
    with pytest.raises(
        TooCoarse, match=r"int8: the pictures are .* dB from torch's, 35 are wanted"
    ):
        verify(path, reference, metadata, threads=1)


def test_precisions_come_in_our_order_and_once() -> None:
    assert parse_precisions("int8, fp32,int8") == ("fp32", "int8")
    with pytest.raises(ValueError, match="unknown precision 'fp64'"):
        parse_precisions("fp64")
