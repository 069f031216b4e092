"""Floating-point operations of a decode, counted in its ONNX graph's convolutions and products.

The graph is run once on the sizes in question, with every such node's output shape as a further
output, so what is counted is what runs. Products of constants (a runtime folds them when it loads
the file) are left out. Counted twice, as is usual: a multiply-add is two operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

COUNTED: Final = ("Conv", "MatMul", "Gemm")
PREFIX: Final = "shape of "


class FlopCounter:
    """A graph that tells the shapes of its products. It holds the weights twice while it loads.

    What a decode costs is counted once for each size.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        model = onnx.load(path)
        graph = model.graph
        varying = {value.name for value in graph.input}
        self._counted: dict[tuple[int, int], int] = {}  # [rows, cols] of a decode
        self._depths: dict[str, tuple[str, int | None]] = {}  # of an output: what a sum runs over
        kernels = {tensor.name: tensor.dims for tensor in graph.initializer}
        wanted = []
        for node in list(graph.node):
            if not varying.intersection(node.input):
                continue
            varying.update(node.output)
            if node.op_type not in COUNTED:
                continue
            [output] = node.output
            weight = kernels.get(node.input[1])
            if node.op_type == "Conv" and weight is not None:
                self._depths[output] = output, math.prod(weight[1:])
            elif node.op_type == "Conv":
                self._depths[output] = node.input[1], None
                wanted.append(node.input[1])
            else:
                self._depths[output] = node.input[0], None
                wanted.append(node.input[0])
            wanted.append(output)
        for name in dict.fromkeys(wanted):
            graph.node.append(helper.make_node("Shape", [name], [PREFIX + name]))
            graph.output.append(
                helper.make_tensor_value_info(PREFIX + name, TensorProto.INT64, None)
            )
        self._wanted = list(dict.fromkeys(wanted))
        self._products = {
            node.output[0]: node.op_type for node in graph.node if node.output[0] in self._depths
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def count(self, inputs: dict[str, NDArray[Any]]) -> int:
        """Operations of one run on these inputs."""
        found = self._session.run([PREFIX + name for name in self._wanted], inputs)
        shapes = {
            name: tuple(int(size) for size in shape)
            for name, shape in zip(self._wanted, found, strict=True)
        }
        total = 0
        for output, (operand, depth) in self._depths.items():
            if depth is None:
                shape = shapes[operand]
                depth = math.prod(shape[1:]) if self._products[output] == "Conv" else shape[-1]
            total += 2 * math.prod(shapes[output]) * depth
        return total

    def decodes(self, rows: Iterable[int], cols: int) -> list[int]:
        """Operations of decodes of one picture each, with so many rows, by a file of grids."""
        return [self._decode(held, cols) for held in rows]

    def _decode(self, rows: int, cols: int) -> int:
        size = rows, cols
        if size not in self._counted:
            self._counted[size] = self.count({"ids": np.zeros((1, *size), np.int64)})
        return self._counted[size]
