"""The incremental decoder as an ONNX file: how it is written and what it says of itself.

`incremental.onnx`: opset 18 of ai.onnx and nothing else, fp32. Its weights are those of the full
decoder in fp32, `detokenizer.onnx`, and lie there alone, as ONNX external data (`weights.py`):
beside it the graph is a download of a few hundred kilobytes. What it computes is told in
`incremental.py`. Inputs and outputs, by name (p: pixels per token; batch, rows, cols and lines are
free):

================ ============================= =====================================================
`ids`            int64 [batch, rows, cols]     all rows so far
`window`         int64 [lines]                 numbers of the half rows to decode, up to the last
`leaving`        int64 [1]                     how many of them the next update will not decode
`carried`        [batch, 2, groups]            zeros, or `carried_next` of the update before
`cache_N`        [batch, channels, 1, s * cols] zeros, or `cache_N_next` of the update before
`pixels`         [batch, 3, lines*p/2, cols*p] of the window; white is 1; not clipped
`coarse`         [batch, 3, rows, cols]        what its change adds to the rows above the window
================ ============================= =====================================================

From `held` rows to `rows` with r redone half rows: the window is max(0, 2 held - r) .. 2 rows - 1,
and leaving is max(0, 2 rows - r) less the window's first. Pixels above the window are those of the
update before, plus the change of `coarse`, interpolated linearly between the centres of tokens.

`metadata_props` has the entries of a full decoder (`export.py`) with the kind "incremental", and

============================== =================================================================
`rowcast.redone_half_rows`     r
`rowcast.caches`               JSON: [[channels, s], …], in order
`rowcast.carried_groups`       groups
`rowcast.norm_statistics`      where the band's norms get mean and variance from
`rowcast.weights_file`         what the full decoder is called in the graph
`rowcast.weights_sha256`       of that file, in hexadecimal
`rowcast.weights_bytes`        its size
`rowcast.self_test`            JSON, see `incremental_self_test.py`
============================== =================================================================

This module must not know about the command line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import onnx
import torch

from rowcast_export.incremental import REDONE_HALF_ROWS, IncrementalModule
from rowcast_export.incremental_painting import OnnxUpdater
from rowcast_export.incremental_self_test import make_incremental_self_test
from rowcast_export.incremental_verify import IncrementalAgreement, verify_incremental
from rowcast_export.settings import FORMAT_VERSION, OPSETS
from rowcast_export.tracing import trace, with_metadata
from rowcast_export.verify import Progress
from rowcast_export.weights import borrow_weights, weights_notes

FILE_NAME: Final = "incremental.onnx"
NORM_STATISTICS: Final = {
    "carried": "trunk: rows so far, exact; band: window as decoded, rows above it as the coarse "
    "band plus what they differed from it when they left the window",
    "calibrated": "trunk: rows so far, exact; band: window as decoded, rows above it as the coarse "
    "band with gains and offsets fitted at export",
}
# Redone half rows from which on the norms' statistics are carried: with fewer, rows leave the
# window too early, and the module needs a calibration (incremental_calibration.py).
CARRIED_FROM: Final = 5


def make_incremental(
    module: IncrementalModule,
    path: Path,
    name: str,
    source_sha256: str,
    redone_half_rows: int = REDONE_HALF_ROWS,
    opset: int = OPSETS[0],
    threads: int = 0,
    on_progress: Progress = lambda what, done, total: None,
    weights: tuple[str, bytes] | None = None,
) -> tuple[bytes, dict[str, str], IncrementalAgreement]:
    """Write the file and verify it against torch; its bytes, metadata and agreement.

    `name` is the model's, `source_sha256` the checkpoint's. `weights` are the name and the bytes of
    the full decoder's fp32 file, else they are inside. Raises NotIncremental, VerificationFailed,
    OSError, or ValueError for a window that would not redo anything.
    """
    on_progress("tracing the updates", 0, 0)
    data, metadata = to_file(module, name, source_sha256, redone_half_rows, opset, weights)
    path.write_bytes(data)
    agreement = verify_incremental(path, module, metadata, threads, on_progress, weights)
    return data, metadata, agreement


def to_file(
    module: IncrementalModule,
    name: str,
    source_sha256: str,
    redone_half_rows: int = REDONE_HALF_ROWS,
    opset: int = OPSETS[0],
    weights: tuple[str, bytes] | None = None,
) -> tuple[bytes, dict[str, str]]:
    """The bytes of a file, not verified, and its metadata; see `make_incremental`."""
    if redone_half_rows < 1:
        raise ValueError(f"redone_half_rows must be at least 1, not {redone_half_rows}")
    model = to_onnx(module, opset)
    metadata = describe(model, module, name, source_sha256, redone_half_rows)
    if weights is not None:
        file_name, content = weights
        model = borrow_weights(model, content, file_name)
        metadata |= weights_notes(content, file_name)
    return with_metadata(model, metadata), metadata


def to_onnx(module: IncrementalModule, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The graph of an update."""
    batch, rows, cols, lines = (
        torch.export.Dim(name) for name in ("batch", "rows", "cols", "lines")
    )
    caches = [f"cache_{index}" for index in range(len(module.caches))]
    example = (
        torch.zeros(2, 3, 5, dtype=torch.int64),  # no size of 1, no two alike: all stay free
        torch.arange(2, 6),
        torch.tensor([1]),
        *module.empty_state(batch=2, cols=5),
    )
    wide = tuple({0: batch, 3: cache.pixels_per_token * cols} for cache in module.caches)
    return trace(
        module,
        example,
        ["ids", "window", "leaving", "carried", *caches],
        ["pixels", "coarse", "carried_next", *(f"{cache}_next" for cache in caches)],
        ({0: batch, 1: rows, 2: cols}, {0: lines}, None, {0: batch}, wide),
        opset,
        graph_name="incremental",
    )


def describe(
    model: onnx.ModelProto,
    module: IncrementalModule,
    name: str,
    source_sha256: str,
    redone_half_rows: int,
) -> dict[str, str]:
    """The metadata of a graph, its self-test included."""
    shape = module.decoder.shape
    # One thread, so that the recorded pixels do not depend on how many there happen to be.
    updater = OnnxUpdater(model.SerializeToString(), threads=1)
    test = make_incremental_self_test(updater, shape.codebook_size, redone_half_rows)
    caches = [[cache.channels, cache.pixels_per_token] for cache in module.caches]
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": "incremental",
        "rowcast.precision": "fp32",
        "rowcast.model": name,
        "rowcast.codebook_size": str(shape.codebook_size),
        "rowcast.pixels_per_token": str(shape.pixels_per_token),
        "rowcast.value_range": "0..1",
        "rowcast.source_sha256": source_sha256,
        "rowcast.opset": str(model.opset_import[0].version),
        "rowcast.redone_half_rows": str(redone_half_rows),
        "rowcast.caches": json.dumps(caches, separators=(",", ":")),
        "rowcast.carried_groups": str(module.carried_groups),
        "rowcast.norm_statistics": NORM_STATISTICS[
            "carried" if module.calibration is None else "calibrated"
        ],
        "rowcast.self_test": test.to_json(),
    }
