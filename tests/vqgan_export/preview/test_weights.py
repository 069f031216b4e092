"""Flat weights of a preview: as the document says, and refused where anything is wrong."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rowcast_export.errors import VerificationFailed
from rowcast_export.precision import convert
from rowcast_export.preview.decoder import PreviewDecoder, PreviewShape
from rowcast_export.preview.weights import (
    PRECISIONS,
    PreviewWeights,
    read_preview_weights,
    write_preview_weights,
)
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.tracing import to_onnx

from tests import document

SHAPE = PreviewShape(200, 4, 24, (24, 16, 8), (1, 0, 0))  # with one tensor that int8 quantises
VECTOR = json.loads((document.ROOT / "tests/vectors/preview_weights.json").read_text("utf-8"))
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def files() -> dict[str, tuple[bytes, OnnxDetokenizer]]:
    """By precision: the weights, and the graph that has them."""
    torch.manual_seed(1)
    module = PreviewDecoder(SHAPE).eval()
    traced = to_onnx(module)
    graphs = {precision: convert(traced, precision) for precision in PRECISIONS}
    return {
        precision: (
            write_preview_weights(graph, module.sizes),
            OnnxDetokenizer(graph.SerializeToString(), threads=1),
        )
        for precision, graph in graphs.items()
    }


def convolved(image: Floats, weights: Floats, bias: Floats) -> Floats:
    """[in, height, width] -> [out, height, width], zeros outside."""
    size = weights.shape[2]
    padded = np.pad(image, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    summed: Floats = np.einsum("ihwyx,oiyx->ohw", windows, weights, optimize=True)
    return summed + bias[:, None, None]


def painted(found: PreviewWeights, ids: NDArray[np.int64]) -> Floats:
    """Pixels [3, height, width] in 0..1, written from R-130 alone."""

    def layer(name: str, image: Floats) -> Floats:
        return convolved(image, found.state[f"{name}.weight"], found.state[f"{name}.bias"])

    levels = found.sizes.levels
    image = layer("conv_in", found.state["table.weight"][ids].transpose(2, 0, 1))
    for level, (_, blocks) in enumerate(levels):
        for block in range(blocks):
            first, second = (f"levels.{level}.{block}.{conv}" for conv in ("conv1", "conv2"))
            image = image + layer(second, np.maximum(layer(first, np.maximum(image, 0)), 0))
        if level + 1 < len(levels):
            image = layer(f"up.{level}", image)
            channels, height, width = image.shape
            squares = image.reshape(channels // 4, 2, 2, height, width)
            image = squares.transpose(0, 3, 1, 4, 2).reshape(-1, 2 * height, 2 * width)
    pixels: Floats = np.clip(layer("conv_out", np.maximum(image, 0)) + 0.5, 0, 1)
    return pixels


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_document_says_gives_the_graphs_pixels(
    files: dict[str, tuple[bytes, OnnxDetokenizer]], precision: str
) -> None:
    data, graph = files[precision]
    found = read_preview_weights(data)
    ids = np.random.default_rng(2).integers(0, SHAPE.codebook_size, (5, 7))
    [wanted] = graph.decode(ids[None])
    np.testing.assert_allclose(painted(found, ids), wanted, atol=1e-5)
    assert found.self_test.thumbnail_difference(graph) == 0


def test_the_vector_is_read_and_painted_as_it_says() -> None:
    found = read_preview_weights(bytes.fromhex(VECTOR["hex"]))
    ids = np.array(VECTOR["ids"], np.int64)
    pixels = np.floor(painted(found, ids) * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
    assert pixels.tolist() == VECTOR["pixels"]
    kinds = {"fp32": 0, "fp16": 1, "int8": 2}
    assert set(VECTOR["types"]) == {*kinds}


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("empty", lambda data: b"", "cut short"),
        ("truncated", lambda data: data[:-1], "cut short"),
        ("header alone", lambda data: data[:24], "cut short"),
        ("another magic", lambda data: b"X" + data[1:], "no file of preview weights"),
        ("another version", lambda data: changed(data, 4, 2), "another version"),
        ("no levels", lambda data: changed(data, 20, 0), "0 levels"),
        ("too many levels", lambda data: changed(data, 20, 2**31), "levels do not give"),
        ("pixels of others", lambda data: changed(data, 12, 8), "3 levels do not give 8"),
        ("a huge codebook", lambda data: changed(data, 8, 2**32 - 1), "cut short"),
        ("a byte more", lambda data: data + b"\0", "follows"),
        ("a NaN", lambda data: data[:-4] + b"\0\0\xc0\x7f", "no number"),
    ],
)
def test_a_file_that_is_none_is_refused(
    files: dict[str, tuple[bytes, OnnxDetokenizer]], name: str, change: Any, fault: str
) -> None:
    with pytest.raises(VerificationFailed, match=fault):
        read_preview_weights(change(files["int8"][0]))
