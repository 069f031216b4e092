"""Verification: a written ONNX file must give the torch module's pictures, or this raises.

Reads the file as a client would, compares names, axes, types, metadata, then pictures at several
grid sizes, batches and seeds against the torch module in float32. This module must not know how the
file was made.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from .agreements import Agreement
from .errors import TooCoarse, VerificationFailed
from .graph_checks import agree, check_graph
from .preview.decoder import AnyDecoder, PreviewDecoder, PreviewShape
from .preview.weights import read_preview_weights
from .progress import Progress
from .runtime import Decodes, Ids, OnnxDetokenizer, Pixels, to_bytes
from .self_test import SelfTest

GRIDS: Final = ((1, 1, 16), (1, 3, 5), (2, 4, 2), (3, 2, 3), (1, 16, 16), (1, 24, 24))
SEEDS: Final = (0, 1, 2)
SEVERAL_SEEDS_UP_TO: Final = 32  # tokens in a batch; larger ones run with the first seed only

LARGEST_PSNR: Final = 150.0  # dB; two pictures without a difference would have an infinite one
LARGEST_HALF: Final = 65504.0
HALF_MARGIN: Final = 2.0  # other grids may reach a little further


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed distance from torch in float32. What is not limited has its widest value."""

    value_difference: float  # of the range 0..1
    byte_difference: int  # of 255
    within_one_share: float  # of the bytes
    psnr: float  # dB, over all values together


# Half precision: ONNX Runtime on the CPU computes such graphs in fp32 (it folds the casts away), so
# what is measured here is the rounding of the weights. That in between depends on the client's
# runtime; that nothing in between overflows is seen from torch's own values.
TOLERANCES: Final = {
    "fp32": Tolerance(1e-3, 2, 0.999, psnr=60.0),
    "fp16": Tolerance(5e-2, 13, 0.95, psnr=50.0),
    "int8": Tolerance(1.0, 255, 0.0, psnr=35.0),
}


class Reference:
    """The torch module in float32. A grid is decoded once, however many files are compared.

    ``largest`` is the largest value that went into or out of a convolution so far.
    """

    def __init__(self, module: AnyDecoder) -> None:
        self.module = module.float()
        self.shape = module.shape
        self.largest = 0.0
        self._decoded: dict[tuple[tuple[int, int, int], int], Pixels] = {}

    def ids(self, shape: tuple[int, int, int], seed: int) -> Ids:
        """Random ids [batch, rows, cols], the same each time."""
        drawn: Ids = np.random.default_rng(seed).integers(0, self.shape.codebook_size, shape)
        return drawn

    def pixels(self, shape: tuple[int, int, int], seed: int) -> Pixels:
        """The picture of those ids, [batch, 3, height, width]."""
        if (shape, seed) not in self._decoded:
            with torch.inference_mode(), self._watched():
                decoded = self.module(torch.from_numpy(self.ids(shape, seed)))
            self._decoded[shape, seed] = decoded.numpy()
        return self._decoded[shape, seed]

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Update ``largest`` while the module runs."""

        def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = max(float(value.abs().max()) for value in (*inputs, output))
            self.largest = max(self.largest, seen)

        convs = [part for part in self.module.modules() if isinstance(part, nn.Conv2d)]
        with contextlib.ExitStack() as stack:
            for conv in convs:
                stack.callback(conv.register_forward_hook(watch).remove)
            yield


def verify(
    path: Path,
    reference: Reference,
    metadata: Mapping[str, str],
    threads: int = 0,
    on_progress: Progress = lambda *_: None,
    tolerance: Tolerance | None = None,
) -> Agreement:
    """Compare the file with the module, and its metadata with what they should be.

    Raises VerificationFailed. ``threads`` are ONNX Runtime's (0: all cores); torch keeps its own.
    The tolerance is that of the precision, if none is given. Takes about as long as decoding 1,000
    tokens, and the first time twice as long.
    """
    precision = metadata["rowcast.precision"]
    tolerance = tolerance or TOLERANCES[precision]
    cases = list(_cases())
    on_progress("checking the graph", 0, len(cases))
    norms = sum(isinstance(part, nn.GroupNorm) for part in reference.module.modules())
    check_graph(path, metadata, reference.shape.pixels_per_token, norms)
    try:
        detokenizer = OnnxDetokenizer(path, threads)
    except Exception as error:  # ONNX Runtime's own kinds of error have no common base
        raise VerificationFailed(f"ONNX Runtime cannot load the file: {error}") from error
    agreement = _compare(detokenizer, reference, precision, on_progress, tolerance)
    on_progress("self-test", len(cases), len(cases))
    _check_self_test(detokenizer, SelfTest.from_json(detokenizer.metadata["rowcast.self_test"]))
    if precision == "fp16" and reference.largest * HALF_MARGIN > LARGEST_HALF:
        raise VerificationFailed(
            f"fp16: a convolution reaches {reference.largest:.3g}, half precision ends at 65504"
        )
    return agreement


def verify_weights(
    path: Path, reference: Reference, precision: str, on_progress: Progress, tolerance: Tolerance
) -> Agreement:
    """Compare a file of preview weights with the module, as `verify` does a graph."""
    found = read_preview_weights(path.read_bytes())
    assert isinstance(reference.shape, PreviewShape)
    module = PreviewDecoder(reference.shape)
    try:
        module.load_state_dict({name: torch.from_numpy(each) for name, each in found.state.items()})
    except RuntimeError as error:
        raise VerificationFailed(f"the weights are of another decoder: {error}") from error
    detokenizer = _TorchDetokenizer(module)
    agreement = _compare(detokenizer, reference, precision, on_progress, tolerance)
    _check_self_test(detokenizer, found.self_test)
    return agreement


class _TorchDetokenizer:
    """A module as a file's runtime."""

    def __init__(self, module: PreviewDecoder) -> None:
        self._module = module.eval()

    def decode(self, ids: Ids) -> Pixels:
        with torch.inference_mode():
            pixels: Pixels = self._module(torch.from_numpy(ids)).numpy()
        return pixels


def _compare(
    detokenizer: Decodes,
    reference: Reference,
    precision: str,
    on_progress: Progress,
    tolerance: Tolerance,
) -> Agreement:
    """Decode all grids on both sides. Raises VerificationFailed, or its TooCoarse."""
    cases, agreements = list(_cases()), []
    for done, (shape, seed) in enumerate(cases):
        on_progress(f"decoding {'x'.join(map(str, shape))}, seed {seed}", done, len(cases))
        agreements.append(_compare_grid(detokenizer, reference, shape, seed, tolerance))
    samples = sum(agreement.samples for agreement in agreements)
    mean_square = sum(a.mean_square * a.samples for a in agreements) / samples
    psnr = _psnr(mean_square)
    if psnr < tolerance.psnr:
        raise TooCoarse(
            f"{precision}: the pictures are {psnr:.1f} dB from torch's, "
            f"{tolerance.psnr:.0f} are wanted"
        )
    return Agreement(
        grids=len(agreements),
        samples=samples,
        value_difference=max(a.value_difference for a in agreements),
        byte_difference=max(a.byte_difference for a in agreements),
        bytes_equal_share=sum(a.bytes_equal_share * a.samples for a in agreements) / samples,
        bytes_within_one_share=min(a.bytes_within_one_share for a in agreements),
        mean_square=mean_square,
        psnr=psnr,
    )


def _psnr(mean_square: float) -> float:
    """Peak signal-to-noise ratio in dB of values in 0..1."""
    return min(LARGEST_PSNR, -10 * math.log10(mean_square)) if mean_square > 0 else LARGEST_PSNR


def _cases() -> Iterator[tuple[tuple[int, int, int], int]]:
    """Test cases ((batch, rows, cols), seed) in the order of decoding: cheap ones first."""
    for batch, rows, cols in GRIDS:
        small = batch * rows * cols <= SEVERAL_SEEDS_UP_TO
        for seed in SEEDS if small else SEEDS[:1]:
            yield (batch, rows, cols), seed


def _compare_grid(
    detokenizer: Decodes,
    reference: Reference,
    shape: tuple[int, int, int],
    seed: int,
    tolerance: Tolerance,
) -> Agreement:
    """Decode one batch of random grids on both sides."""
    batch, rows, cols = shape
    side = reference.shape.pixels_per_token
    where = f"grid {batch}x{rows}x{cols}, seed {seed}"
    wanted = reference.pixels(shape, seed)
    try:
        pixels = detokenizer.decode(reference.ids(shape, seed))
    except Exception as error:  # ONNX Runtime's own kinds of error have no common base
        raise VerificationFailed(f"{where}: ONNX Runtime failed: {error}") from error
    agree(f"{where}: type", str(pixels.dtype), "float32")
    agree(f"{where}: shape", pixels.shape, (batch, 3, rows * side, cols * side))
    for name, values in (("torch", wanted), ("ONNX Runtime", pixels)):
        if not np.isfinite(values).all():
            raise VerificationFailed(f"{where}: NaN or infinity from {name}")
    if pixels.min() < 0 or pixels.max() > 1:
        raise VerificationFailed(f"{where}: values {pixels.min()}..{pixels.max()}, not in 0..1")
    differences = np.abs(pixels - wanted)
    largest = float(differences.max())
    if largest > tolerance.value_difference:
        raise VerificationFailed(
            f"{where}: values differ by {largest:.3g}, more than {tolerance.value_difference}"
        )
    apart = np.abs(to_bytes(pixels).astype(np.int16) - to_bytes(wanted))
    within_one = float((apart <= 1).mean())
    if within_one < tolerance.within_one_share or apart.max() > tolerance.byte_difference:
        raise VerificationFailed(
            f"{where}: uint8 pixels differ by up to {apart.max()}, {within_one:.3%} within one"
        )
    equal = float((apart == 0).mean())
    mean_square = float(np.square(differences, dtype=np.float64).mean())
    return Agreement(
        1,
        apart.size,
        largest,
        int(apart.max()),
        equal,
        within_one,
        mean_square,
        _psnr(mean_square),
    )


def _check_self_test(detokenizer: Decodes, test: SelfTest) -> None:
    """Run the self-test as a client does when it loads the file."""
    difference = test.thumbnail_difference(detokenizer)
    if difference > test.tolerance:
        raise VerificationFailed(f"the self-test's thumbnail differs by {difference} of 255")
