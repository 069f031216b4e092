"""Operations are counted as torch counts them, and as they are counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from rowcast_bench.decode.files import DecoderFiles
from rowcast_bench.decode.flops import FlopCounter
from rowcast_export.vqgan import VQGANDecoder
from torch.utils.flop_counter import FlopCounterMode


def counted_by_torch(decoder: VQGANDecoder, rows: int, cols: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(torch.zeros(1, rows, cols, dtype=torch.int64))
    return int(counter.get_total_flops())


def test_by_hand(tmp_path: Path) -> None:
    """A 3x3 convolution of 4 to 6 channels on 5 x 7 pixels, then each pixel by each other one."""
    weights = numpy_helper.from_array(np.ones((6, 4, 3, 3), np.float32), "weights")
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["seen", "flat"], ["values"]),  # [6, 35]
        helper.make_node("Transpose", ["values"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["turned", "values"], ["products"]),
        helper.make_node("Relu", ["products"], ["positive"]),
    ]
    flat = numpy_helper.from_array(np.array([6, 35]), "flat")
    graph = helper.make_graph(
        nodes,
        "known",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 5, 7])],
        [helper.make_tensor_value_info("positive", TensorProto.FLOAT, [35, 35])],
        [weights, flat],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "known.onnx")
    counted = FlopCounter(tmp_path / "known.onnx").count({"image": np.zeros((1, 4, 5, 7), "f")})
    assert counted == 2 * (5 * 7 * 6 * 4 * 3 * 3) + 2 * (35 * 6 * 35)


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (7, 3)])
def test_a_full_decode_costs_what_torch_counts(
    tiny_files: DecoderFiles, tiny_decoder: VQGANDecoder, rows: int, cols: int
) -> None:
    counter = FlopCounter(tiny_files.full)
    assert counter.decodes([rows], cols) == [counted_by_torch(tiny_decoder, rows, cols)]


def test_a_size_is_counted_once(tiny_files: DecoderFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = FlopCounter(tiny_files.full)
    counts = counter.decodes([2, 3, 2], 4)
    assert counts[0] == counts[2] < counts[1]
    monkeypatch.setattr(counter, "count", None)
    assert counter.decodes([3, 2], 4) == [counts[1], counts[0]]
