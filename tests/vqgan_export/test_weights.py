"""Tensors that lie in another file: found there byte for byte, and refused anywhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rowcast_export.weights import (
    SMALLEST_BORROWED,
    WeightsMissing,
    borrow_weights,
    weights_notes,
    with_weights,
)

NAME = "detokenizer.onnx"
LARGE = np.random.default_rng(0).random((16, 32)).astype(np.float32)
OWN = np.random.default_rng(1).random((16, 32)).astype(np.float32)
SMALL = np.ones(SMALLEST_BORROWED // 4 - 1, np.float32)


def graph(**tensors: np.ndarray) -> onnx.ModelProto:
    names = [*tensors]
    outputs = [helper.make_tensor_value_info(f"{n}_out", TensorProto.FLOAT, None) for n in names]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names],
            "graph",
            [],
            outputs,
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        )
    )


FULL = graph(first=SMALL, weight=LARGE, bias=SMALL).SerializeToString()


def borrowing() -> onnx.ModelProto:
    return borrow_weights(graph(kernel=LARGE.reshape(-1), own=OWN, bias=SMALL), FULL, NAME)


def test_large_tensors_of_the_same_bytes_are_borrowed_whatever_they_are_called() -> None:
    kernel, own, bias = borrowing().graph.initializer
    place = {entry.key: entry.value for entry in kernel.external_data}
    assert place == {
        "location": NAME,
        "offset": str(FULL.index(LARGE.tobytes())),
        "length": str(LARGE.nbytes),
    }
    assert not kernel.raw_data
    assert (own.raw_data, bias.raw_data) == (OWN.tobytes(), SMALL.tobytes())
    assert not own.external_data
    assert not bias.external_data


def test_the_same_numbers_of_another_type_are_not_borrowed() -> None:
    same = graph(kernel=LARGE.view(np.int32))
    (kernel,) = borrow_weights(same, FULL, NAME).graph.initializer
    assert kernel.raw_data


def test_weights_come_back_as_they_were() -> None:
    before = graph(kernel=LARGE.reshape(-1), own=OWN, bias=SMALL)
    assert with_weights(borrowing(), FULL, NAME) == before


def test_any_tool_opens_the_two_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(FULL)
    (tmp_path / "graph.onnx").write_bytes(borrowing().SerializeToString())
    kernel = onnx.load(tmp_path / "graph.onnx").graph.initializer[0]
    assert np.array_equal(numpy_helper.to_array(kernel), LARGE.reshape(-1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "other"),
        ("offset", "-1"),
        ("offset", "x"),
        ("length", "99999"),
        ("length", "-4"),
    ],
)
def test_a_place_that_is_none_is_named(key: str, value: str) -> None:
    model = borrowing()
    entries = model.graph.initializer[0].external_data
    next(entry for entry in entries if entry.key == key).value = value
    with pytest.raises(WeightsMissing, match=f"the tensor kernel lies at .*{value}"):
        with_weights(model, FULL, NAME)


def test_what_the_metadata_says() -> None:
    notes = weights_notes(b"abc", NAME)
    assert notes["rowcast.weights_file"] == NAME
    assert notes["rowcast.weights_bytes"] == "3"
    assert notes["rowcast.weights_sha256"].startswith("ba7816bf")
