"""The preview as flat weights: ``preview.fp16.bin`` and ``preview.int8.bin``.

For clients that paint with kernels of their own, as browsers do: a runtime for any ONNX graph is
ten times the size of this model. The weights are those of the ONNX file of the same precision. The
format is in protocol.md, section 10: its parts (R-128), the tensors (R-129), what is computed
(R-130), what is refused (R-131).

This module must not know torch, nor where a decoder came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ..errors import VerificationFailed
from ..runtime import OnnxDetokenizer
from ..self_test import SelfTest, make_self_test

KIND: Final = "preview_weights"
PRECISIONS: Final = ("fp16", "int8")
MAGIC: Final = b"PREV"
VERSION: Final = 1
WORD: Final = 4  # bytes; every part begins at a multiple
FLOAT32, FLOAT16, INT8 = range(3)  # of a tensor
TYPES: Final = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1"}

Floats = npt.NDArray[np.float32]


def file_name(precision: str) -> str:
    """``preview.int8.bin`` and so on."""
    return f"preview.{precision}.bin"


@dataclass(frozen=True)
class PreviewSizes:
    """What the header says: ``levels`` are (width, residual blocks) of each resolution, from one
    pixel a token to ``pixels_per_token``."""

    codebook_size: int
    pixels_per_token: int
    table_channels: int
    levels: tuple[tuple[int, int], ...]

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes [out, in, ky, kx] of the weights, in the order of the file."""
        yield "table", (self.codebook_size, self.table_channels)
        yield "conv_in", (self.levels[0][0], self.table_channels, 3, 3)
        for level, (width, blocks) in enumerate(self.levels):
            for block in range(blocks):
                for conv in ("conv1", "conv2"):
                    yield f"levels.{level}.{block}.{conv}", (width, width, 3, 3)
            if level + 1 < len(self.levels):
                yield f"up.{level}", (4 * self.levels[level + 1][0], width, 1, 1)
        yield "conv_out", (3, self.levels[-1][0], 3, 3)


def write_preview_weights(model: onnx.ModelProto, sizes: PreviewSizes) -> bytes:
    """The file with the weights of a preview's graph, which is of one of ``PRECISIONS``."""
    test = make_self_test(
        OnnxDetokenizer(model.SerializeToString(), threads=1), sizes.codebook_size
    )
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    parts = [MAGIC, _words(VERSION, sizes.codebook_size, sizes.pixels_per_token)]
    parts += [_words(sizes.table_channels, len(sizes.levels))]
    parts += [_words(*level) for level in sizes.levels]
    parts += [_words(test.rows, test.cols, test.thumbnail_side, test.tolerance, *test.ids)]
    parts.append(_whole(bytes(test.thumbnail)))
    for name, _ in sizes.tensors():
        values = found[f"{name}.weight"]
        kind = {np.dtype("f4"): FLOAT32, np.dtype("f2"): FLOAT16}.get(values.dtype, INT8)
        parts.append(_words(kind))
        if kind == INT8:
            parts.append(found[f"{name}.weight.scale"].astype("<f4").tobytes())
        parts.append(_whole(values.astype(TYPES[kind]).tobytes()))
        if name != "table":
            parts.append(found[f"{name}.bias"].astype("<f4").tobytes())
    return b"".join(parts)


@dataclass(frozen=True)
class PreviewWeights:
    """What a file says: sizes, self-test (without a hash of its pixels), and weights and biases by
    their names in torch."""

    sizes: PreviewSizes
    self_test: SelfTest
    state: dict[str, Floats]


def read_preview_weights(data: bytes) -> PreviewWeights:
    """Read a file. Raises VerificationFailed, saying what is wrong."""
    reader = _Reader(data)
    if reader.take(4) != MAGIC or reader.word() != VERSION:
        raise VerificationFailed("this is no file of preview weights, or of another version")
    codebook_size, pixels_per_token, table_channels, levels = reader.words(4)
    if levels > 7 or pixels_per_token != 1 << (levels - 1 if levels else 31):
        raise VerificationFailed(f"{levels} levels do not give {pixels_per_token} pixels a token")
    widths = tuple((reader.word(), reader.word()) for _ in range(levels))
    sizes = PreviewSizes(codebook_size, pixels_per_token, table_channels, widths)
    rows, cols, side, tolerance = reader.words(4)
    ids = reader.words(rows * cols)
    thumbnail = list(reader.take(3 * side * side))
    test = SelfTest(rows, cols, ids, thumbnail, side, tolerance, "")
    state = {}
    for name, shape in sizes.tensors():
        state[f"{name}.weight"] = reader.tensor(shape)
        if name != "table":
            state[f"{name}.bias"] = reader.floats(shape[:1])
    if reader.take(len(data) - reader.at):
        raise VerificationFailed("something follows the last tensor")
    return PreviewWeights(sizes, test, state)


class _Reader:
    """Takes part after part; raises VerificationFailed where the file is cut short."""

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data

    def take(self, count: int) -> bytes:
        """The next bytes; what fills up to a multiple of 4 is skipped."""
        taken = self._data[self.at : self.at + count]
        if len(taken) < count:
            raise VerificationFailed("the file is cut short")
        self.at += count + -count % WORD
        return taken

    def words(self, count: int) -> list[int]:
        return [int(word) for word in np.frombuffer(self.take(WORD * count), "<u4")]

    def word(self) -> int:
        return self.words(1)[0]

    def floats(self, shape: tuple[int, ...]) -> Floats:
        return self._values("<f4", shape)

    def tensor(self, shape: tuple[int, ...]) -> Floats:
        """The values of a tensor, whatever they are kept as."""
        kind = self.word()
        if kind not in TYPES:
            raise VerificationFailed(f"there is no kind {kind} of tensors")
        scales = self.floats(shape[:1]) if kind == INT8 else None
        values = self._values(TYPES[kind], shape)
        if scales is None:
            return values
        scaled: Floats = values * scales.reshape(-1, *[1] * (len(shape) - 1))
        return scaled

    def _values(self, kind: str, shape: tuple[int, ...]) -> Floats:
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(self.take(count * np.dtype(kind).itemsize), kind)
        if not np.isfinite(values).all():
            raise VerificationFailed("a value is no number")
        return values.astype(np.float32).reshape(shape)


def _words(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def _whole(part: bytes) -> bytes:
    """A part, filled up with zeros to a multiple of 4 bytes."""
    return part + bytes(-len(part) % WORD)
