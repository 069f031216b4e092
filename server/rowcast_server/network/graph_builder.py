"""A builder of ONNX graphs: nodes, constants and weights, with DalleBart's building blocks.

Every size follows from the shapes of the weights. Knows nothing of the graphs that are built of the
blocks (encoder_graph.py, decoder_graph.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from .facts import HEAD_WIDTH, LAYER_NORM_EPSILON, Weights
from .quantised import BLOCKS, quantised, scales
from .tensors import Array, as_stored, shape_of

MASKED: Final = -1e12  # as min-dalle: finite, so a fully masked row is still no NaN
OPSET: Final = 24  # the first with TensorScatter
MICROSOFT: Final = "com.microsoft"  # ONNX Runtime's own operators

# Makes the initializer of this name, dtype and shape from an array that is read when needed.
Store = Callable[[str, DTypeLike, tuple[int, ...], Callable[[], Array]], TensorProto]


def store_inside(
    name: str, dtype: DTypeLike, shape: tuple[int, ...], read: Callable[[], Array]
) -> TensorProto:
    """An initializer that holds its values: all is in memory (see graph_files.py for the other
    way)."""
    return numpy_helper.from_array(np.ascontiguousarray(read(), dtype), name)


class Graph:
    """A graph under construction; methods add nodes and return the name of their result.

    With 8 or 4 ``bits`` the matrices of `linear` are kept in so many (quantised.py); all else is
    float32.
    """

    def __init__(self, weights: Weights, store: Store, prefix: str = "", bits: int = 32) -> None:
        self.weights = weights
        self._store = store
        self._prefix = prefix
        self._bits = bits
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._numbers = itertools.count()

    def with_weights(self, weights: Weights, prefix: str) -> Graph:
        """The same graph, continued with other weights, whose names get a ``prefix``."""
        other = Graph(weights, self._store, prefix, self._bits)
        other.nodes, other.initializers = self.nodes, self.initializers
        other._numbers = self._numbers
        return other

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return shape_of(self.weights, "embed_positions.weight")[1]

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self.initializers:
            array = np.ascontiguousarray(value)
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def integers(self, *values: int) -> str:
        return self.constant("int_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: int) -> str:
        return self.constant(f"number_{value}", np.array(value, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(f"float_{value!r}", np.array(value, np.float32))

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        read: Callable[[], Array],
        dtype: DTypeLike = np.float32,
    ) -> str:
        name = self._prefix + name
        if name not in self.initializers:
            self.initializers[name] = self._store(name, dtype, shape, read)
        return name

    def table(self, name: str) -> str:
        weights = self.weights
        return self.weight(name, shape_of(weights, name), lambda: as_stored(weights, name))

    def linear(self, x: str, name: str, rows: int | None = None) -> str:
        """x @ weight.T, the weight [out, in] cut to its first ``rows`` outputs."""
        outputs, _ = shape_of(self.weights, f"{name}.weight")
        return self._product(x, name, (name,), outputs if rows is None else rows)

    def linears(self, x: str, prefix: str, *names: str) -> list[str]:
        """x @ weight.T of several weights ``prefix``.name of one shape, as one product, which is
        faster."""
        keys = [f"{prefix}.{name}" for name in names]
        outputs, _ = shape_of(self.weights, f"{keys[0]}.weight")
        together = self._product(x, f"{prefix}.{'_'.join(names)}", keys, outputs)
        return self.parts(together, *[outputs] * len(names), axis=-1)

    def parts(self, x: str, *sizes: int, axis: int) -> list[str]:
        """x cut along ``axis`` into parts of these sizes."""
        results = [f"split_{next(self._numbers)}" for _ in sizes]
        cut = helper.make_node("Split", [x, self.integers(*sizes)], results, axis=axis)
        self.nodes.append(cut)
        return results

    def _product(self, x: str, name: str, parts: Sequence[str], rows: int) -> str:
        """x @ weight.T; the weight is the first ``rows`` outputs of each part, one below the
        other."""
        weights, keys = self.weights, [f"{part}.weight" for part in parts]
        outputs, inputs = rows * len(keys), shape_of(weights, keys[0])[1]

        def read() -> Array:
            if len(keys) == 1:
                return as_stored(weights, keys[0])[:rows]
            return np.concatenate([as_stored(weights, key)[:rows] for key in keys])

        if self._bits in BLOCKS:
            return self._quantised_product(x, name, outputs, inputs, read)
        matrix = self.weight(f"{name}.transposed", (inputs, outputs), lambda: read().T)
        return self.op("MatMul", x, matrix)

    def _quantised_product(
        self, x: str, name: str, outputs: int, inputs: int, read: Callable[[], Array]
    ) -> str:
        def as_float32() -> NDArray[np.float32]:
            return np.asarray(read(), np.float32)

        bits, block = self._bits, BLOCKS[self._bits]
        blocks = -(-inputs // block)
        matrix = self.weight(
            f"{name}.int{bits}",
            (outputs, blocks, block * bits // 8),
            lambda: quantised(as_float32(), bits),
            np.uint8,
        )
        scale = self.weight(
            f"{name}.scales", (outputs * blocks,), lambda: scales(as_float32(), bits).ravel()
        )
        return self.op(
            "MatMulNBits",
            x,
            matrix,
            scale,
            domain=MICROSOFT,
            K=inputs,
            N=outputs,
            bits=bits,
            block_size=block,
            accuracy_level=4,  # activations in eight bits too, each row by itself
        )

    def layer_norm(self, x: str, name: str) -> str:
        weights, key = self.weights, f"{name}.weight"
        (width,) = shape_of(weights, f"{name}.bias")
        scale: Callable[[], Array] = lambda: np.ones(width, np.float32)  # noqa: E731
        if key in weights:
            scale = lambda: as_stored(weights, key)  # noqa: E731
        return self.op(
            "LayerNormalization",
            x,
            self.weight(key, (width,), scale),
            self.table(f"{name}.bias"),
            axis=-1,
            epsilon=LAYER_NORM_EPSILON,
        )

    def gated_linear_unit(self, x: str, name: str) -> str:
        """fc2(ln1(gelu(fc0 x) * fc1 x)) of x = ln0(input), with the exact GELU (Hendrycks and
        Gimpel, arXiv:1606.08415), x/2 (1 + erf(x/√2))."""
        x = self.layer_norm(x, f"{name}.ln0")
        gate, value = self.linears(x, name, "fc0", "fc1")
        erf = self.op("Erf", self.op("Div", gate, self.scalar(float(np.sqrt(2.0)))))
        double = self.op("Mul", gate, self.op("Add", erf, self.scalar(1.0)))
        product = self.op("Mul", self.op("Mul", double, self.scalar(0.5)), value)
        return self.linear(self.layer_norm(product, f"{name}.ln1"), f"{name}.fc2")

    def heads(self, x: str) -> str:
        """[batch, tokens, width] -> [batch, heads, tokens, 64]."""
        split = self.op("Reshape", x, self.integers(0, 0, -1, HEAD_WIDTH))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def keys(self, x: str) -> str:
        """[batch, tokens, width] -> [batch, heads, 64, tokens], ready for queries @ keys."""
        split = self.op("Reshape", x, self.integers(0, 0, -1, HEAD_WIDTH))
        return self.op("Transpose", split, perm=[0, 2, 3, 1])

    def scaled(self, queries: str) -> str:
        return self.op("Mul", queries, self.scalar(1.0 / np.sqrt(HEAD_WIDTH)))

    def merge(self, x: str) -> str:
        """[batch, heads, tokens, 64] -> [batch, tokens, width]."""
        together = self.op("Transpose", x, perm=[0, 2, 1, 3])
        return self.op("Reshape", together, self.integers(0, 0, self.width))

    def masked_bias(self, allowed: str) -> str:
        return self.op("Where", allowed, self.scalar(0.0), self.scalar(MASKED))

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, name, inputs, outputs, initializer=list(self.initializers.values())
        )
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=10)


def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
