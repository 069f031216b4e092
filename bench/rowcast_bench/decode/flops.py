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
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rowcast.pixels.runtime import import_onnxruntime

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
        self._products: list[tuple[bool, str, str]] = []  # True of a convolution; summed over; made
        for node in graph.node:
            if not varying.intersection(node.input):
                continue
            varying.update(node.output)
            if node.op_type in COUNTED:
                is_conv = node.op_type == "Conv"
                self._products.append((is_conv, node.input[is_conv], node.output[0]))
        self._shaped = list(dict.fromkeys(name for _, *both in self._products for name in both))
        for name in self._shaped:
            graph.node.append(helper.make_node("Shape", [name], [PREFIX + name]))
            graph.output.append(
                helper.make_tensor_value_info(PREFIX + name, TensorProto.INT64, None)
            )
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def count(self, inputs: dict[str, NDArray[Any]]) -> int:
        """Operations of one run on these inputs."""
        found = self._session.run([PREFIX + name for name in self._shaped], inputs)
        shapes = {name: shape.tolist() for name, shape in zip(self._shaped, found, strict=True)}
        return sum(
            2
            * math.prod(shapes[made])
            * (math.prod(shapes[operand][1:]) if is_conv else shapes[operand][-1])
            for is_conv, operand, made in self._products
        )

    def decodes(self, rows: Iterable[int], cols: int) -> list[int]:
        """Operations of decodes of one picture each, with so many rows, by a file of grids."""
        sizes = [(held, cols) for held in rows]
        for size in set(sizes) - self._counted.keys():
            self._counted[size] = self.count({"ids": np.zeros((1, *size), np.int64)})
        return [self._counted[size] for size in sizes]
