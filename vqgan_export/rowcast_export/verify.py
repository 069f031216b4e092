"""Does a written ONNX file do what the torch module does? It says yes, or it raises.

Reads the file as a client would, compares names, axes, types, metadata, then pictures at several
grid sizes, batches and seeds against the torch module in float32. This module must not know how the
file was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import nn

from rowcast_export.runtime import Ids, OnnxDetokenizer, Pixels, to_bytes
from rowcast_export.self_test import SelfTest
from rowcast_export.vqgan import VQGANDecoder

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

GRIDS: Final = ((1, 1, 16), (1, 3, 5), (2, 4, 2), (3, 2, 3), (1, 16, 16), (1, 24, 24))
SEEDS: Final = (0, 1, 2)
SEVERAL_SEEDS_UP_TO: Final = 32  # tokens in a batch; larger ones run with the first seed only

LARGEST_DIFFERENCE: Final = 1e-3  # of the range 0..1
LARGEST_BYTE_DIFFERENCE: Final = 2  # of 255
WITHIN_ONE_SHARE: Final = 0.999


class VerificationFailed(Exception):
    """The file and the module disagree; the message names what disagreed, and by how much."""


@dataclass(frozen=True)
class Agreement:
    """What was compared and how far apart it was. Differences are the largest ones seen."""

    grids: int
    samples: int  # colour samples compared: pixels times three
    value_difference: float  # of the range 0..1
    byte_difference: int  # of 255
    bytes_equal_share: float
    bytes_within_one_share: float


def verify(
    path: Path,
    module: VQGANDecoder,
    metadata: Mapping[str, str],
    threads: int = 0,
    on_progress: Progress = lambda what, done, total: None,
) -> Agreement:
    """Compare the file with the module, and its metadata with what they should be.

    Raises VerificationFailed. ``threads`` are ONNX Runtime's (0: all cores); torch keeps its own.
    Takes about as long as decoding 1,000 tokens twice.
    """
    cases = list(_cases())
    on_progress("checking the graph", 0, len(cases))
    _check_graph(path, module, metadata)
    try:
        detokenizer = OnnxDetokenizer(path, threads)
    except Exception as error:  # ONNX Runtime's own kinds of error have no common base
        raise VerificationFailed(f"ONNX Runtime cannot load the file: {error}") from error
    agreements = []
    for done, (shape, seed) in enumerate(cases):
        on_progress(f"decoding {'x'.join(map(str, shape))}, seed {seed}", done, len(cases))
        agreements.append(_compare_grid(detokenizer, module, shape, seed))
    on_progress("self-test", len(cases), len(cases))
    _check_self_test(detokenizer)
    samples = sum(agreement.samples for agreement in agreements)
    return Agreement(
        grids=len(agreements),
        samples=samples,
        value_difference=max(a.value_difference for a in agreements),
        byte_difference=max(a.byte_difference for a in agreements),
        bytes_equal_share=sum(a.bytes_equal_share * a.samples for a in agreements) / samples,
        bytes_within_one_share=min(a.bytes_within_one_share for a in agreements),
    )


def _cases() -> Iterator[tuple[tuple[int, int, int], int]]:
    """((batch, rows, cols), seed) in the order in which they are decoded: cheap ones first."""
    for batch, rows, cols in GRIDS:
        small = batch * rows * cols <= SEVERAL_SEEDS_UP_TO
        for seed in SEEDS if small else SEEDS[:1]:
            yield (batch, rows, cols), seed


def _check_graph(path: Path, module: VQGANDecoder, metadata: Mapping[str, str]) -> None:
    """Operators, names, types, axes and metadata, as written in the file."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf's, onnx's and the operating system's
        raise VerificationFailed(f"not a valid ONNX file: {error}") from error
    side = module.shape.pixels_per_token
    _agree(
        "opset",
        {item.domain: str(item.version) for item in model.opset_import},
        {
            "": metadata["rowcast.opset"],
        },
    )
    _agree("local functions", len(model.functions), 0)
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain})
    _agree("operators outside ai.onnx", foreign, [])
    norms = sum(isinstance(part, nn.GroupNorm) for part in module.modules())
    found = sum(node.op_type == "InstanceNormalization" for node in model.graph.node)
    _agree("InstanceNormalization nodes", found, norms)
    _agree(
        "inputs",
        [_signature(value) for value in model.graph.input],
        [
            ("ids", "INT64", ["batch", "rows", "cols"]),
        ],
    )
    _agree(
        "outputs",
        [_signature(value) for value in model.graph.output],
        [
            ("pixels", "FLOAT", ["batch", 3, f"{side}*rows", f"{side}*cols"]),
        ],
    )
    _agree("metadata", {item.key: item.value for item in model.metadata_props}, dict(metadata))


def _signature(value: onnx.ValueInfoProto) -> tuple[str, str, list[str | int]]:
    """Name, element type, axes; a fixed axis is a number, a free one its name."""
    tensor = value.type.tensor_type
    axes = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), axes


def _compare_grid(
    detokenizer: OnnxDetokenizer, module: VQGANDecoder, shape: tuple[int, int, int], seed: int
) -> Agreement:
    """Decode one batch of random grids on both sides."""
    batch, rows, cols = shape
    side = module.shape.pixels_per_token
    where = f"grid {batch}x{rows}x{cols}, seed {seed}"
    ids: Ids = np.random.default_rng(seed).integers(0, module.shape.codebook_size, shape)
    with torch.inference_mode():
        wanted: Pixels = module.float()(torch.from_numpy(ids)).numpy()
    try:
        pixels = detokenizer.decode(ids)
    except Exception as error:  # ONNX Runtime's own kinds of error have no common base
        raise VerificationFailed(f"{where}: ONNX Runtime failed: {error}") from error
    _agree(f"{where}: type", str(pixels.dtype), "float32")
    _agree(f"{where}: shape", pixels.shape, (batch, 3, rows * side, cols * side))
    for name, values in (("torch", wanted), ("ONNX Runtime", pixels)):
        if not np.isfinite(values).all():
            raise VerificationFailed(f"{where}: NaN or infinity from {name}")
    if pixels.min() < 0 or pixels.max() > 1:
        raise VerificationFailed(f"{where}: values {pixels.min()}..{pixels.max()}, not in 0..1")
    difference = float(np.abs(pixels - wanted).max())
    if difference > LARGEST_DIFFERENCE:
        raise VerificationFailed(
            f"{where}: values differ by {difference:.3g}, more than {LARGEST_DIFFERENCE}"
        )
    apart = np.abs(to_bytes(pixels).astype(np.int16) - to_bytes(wanted))
    within_one = float((apart <= 1).mean())
    if within_one < WITHIN_ONE_SHARE or apart.max() > LARGEST_BYTE_DIFFERENCE:
        raise VerificationFailed(
            f"{where}: uint8 pixels differ by up to {apart.max()}, {within_one:.3%} within one"
        )
    equal = float((apart == 0).mean())
    return Agreement(1, apart.size, difference, int(apart.max()), equal, within_one)


def _check_self_test(detokenizer: OnnxDetokenizer) -> None:
    """What the client will do when it loads the file."""
    test = SelfTest.from_json(detokenizer.metadata["rowcast.self_test"])
    difference = test.thumbnail_difference(detokenizer)
    if difference > test.tolerance:
        raise VerificationFailed(f"the self-test's thumbnail differs by {difference} of 255")


def _agree(what: str, found: object, wanted: object) -> None:
    """Raise where two descriptions are not the same."""
    if found != wanted:
        raise VerificationFailed(f"{what}: found {found}, wanted {wanted}")
