"""Graphs that never end or want all memory: they are refused, and the program lives on."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from rowcast.errors import DetokenizerError
from rowcast.pixels.detokenizer import Detokenizer

SELF_TEST = {
    "rows": 4,
    "cols": 4,
    "ids": [0] * 16,
    "thumbnail": [0] * 3,
    "thumbnail_side": 1,
    "tolerance": 255,
}
BIG = 100_000_000_000  # elements: more than any machine's memory


def written(path: Path, *nodes: onnx.NodeProto, **constants: onnx.TensorProto) -> Path:
    """A file of a graph from `ids` to `pixels` that calls itself a detokenizer."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["numbers"], to=TensorProto.FLOAT), *nodes],
        "hostile",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "rows", "cols"])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, None)],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    facts = {
        "format": "1",
        "codebook_size": "64",
        "pixels_per_token": "4",
        "self_test": json.dumps(SELF_TEST),
    }
    helper.set_model_props(model, {f"rowcast.{name}": value for name, value in facts.items()})
    onnx.save(model, path)
    return path


def test_a_graph_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scalar(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "sum"], ["twice"]),
        ],
        "body",
        [
            scalar("turn", TensorProto.INT64),
            scalar("go", TensorProto.BOOL),
            scalar("sum", TensorProto.FLOAT),
        ],
        [scalar("go_on", TensorProto.BOOL), scalar("twice", TensorProto.FLOAT)],
    )
    path = written(
        tmp_path / "endless.onnx",
        helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
        helper.make_node("Loop", ["turns", "true", "total"], ["pixels"], body=body),
        turns=helper.make_tensor("turns", TensorProto.INT64, [], [2**62]),
        true=helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    )
    monkeypatch.setattr("rowcast.pixels.onnx_file.RUN_SECONDS", 0.2)
    begun = time.monotonic()
    with pytest.raises(DetokenizerError, match=r"endless\.onnx cannot decode"):
        Detokenizer(path)
    assert time.monotonic() - begun < 30


def test_a_graph_that_wants_all_memory_gets_none(tmp_path: Path) -> None:
    path = written(
        tmp_path / "greedy.onnx",
        helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
        helper.make_node("Expand", ["total", "much"], ["pixels"]),
        much=helper.make_tensor("much", TensorProto.INT64, [1], [BIG]),
    )
    with pytest.raises(DetokenizerError, match=r"greedy\.onnx cannot decode"):
        Detokenizer(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < BIG
