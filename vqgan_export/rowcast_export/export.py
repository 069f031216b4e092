"""A VQGAN decoder as an ONNX file that any client can run, verified before it gets its name.

The file: opset 18 of ai.onnx and nothing else, group norms as InstanceNormalization (which
onnxruntime-web runs on every backend), weights inside. Input `ids`, int64 [batch, rows, cols];
output `pixels`, float32 [batch, 3, rows * p, cols * p], clipped to 0..1. All of batch, rows and
cols are free. Exporting the same checkpoint twice gives the same bytes: files are named by hash.

What the file says of itself (`metadata_props`, all strings):

=========================== ====================================================================
`rowcast.format`            "1"
`rowcast.kind`              "full": the whole decoder
`rowcast.precision`         "fp32"
`rowcast.model`             the name of the model
`rowcast.codebook_size`     valid ids are 0..size-1; the graph does not check them
`rowcast.pixels_per_token`  p
`rowcast.value_range`       of the output: "0..1"
`rowcast.source_sha256`     of the checkpoint file
`rowcast.opset`             "18"
`rowcast.self_test`         JSON, see `self_test.py`
=========================== ====================================================================

What a checkpoint may say of itself (safetensors `__metadata__`, all strings, all optional):
`name`, the name of the model; `group_norm_epsilon`, such as "1e-06"; `value_range`, what the
network calls black and white, such as "0..1" or "-1..1". Where it says nothing the caller decides;
where both speak and disagree, that is an error. See `settings.py`.

This module must not know about the command line, nor what a client does with the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch

from rowcast_export.formats import Checkpoint, CheckpointError
from rowcast_export.pending import pending_files
from rowcast_export.runtime import OnnxDetokenizer
from rowcast_export.self_test import make_self_test
from rowcast_export.settings import OPSETS, Settings
from rowcast_export.verify import Agreement, Progress, verify
from rowcast_export.vqgan import VQGANDecoder

FILE_NAME: Final = "detokenizer.onnx"
MANIFEST_NAME: Final = "manifest.json"
FORMAT_VERSION: Final = "1"
IR_VERSION: Final = 8  # the oldest that carries opset 18, so that old runtimes load the file
NOISY_LOGGERS: Final = ("torch", "torch.onnx", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class Exported:
    """A finished file: where it lies, its size in bytes, its sha256, and how well it agrees."""

    path: Path
    bytes: int
    sha256: str
    metadata: dict[str, str]
    agreement: Agreement


def export_detokenizer(
    checkpoint: Checkpoint,
    folder: Path,
    settings: Settings,
    opset: int = OPSETS[0],
    threads: int = 0,
    on_progress: Progress = lambda what, done, total: None,
) -> Exported:
    """Write `detokenizer.onnx` and `manifest.json` into `folder`, which is made if need be.

    Both appear only after the written file has been verified; until then, and after any failure,
    whatever was there stays as it was. Raises CheckpointError, VerificationFailed or OSError.
    """
    module = build(checkpoint, settings)
    target = folder / FILE_NAME
    with pending_files([target, folder / MANIFEST_NAME]) as (model_file, manifest_file):
        on_progress("tracing the graph", 0, 0)
        model = to_onnx(module, opset)
        metadata = describe(model, module, settings.name, checkpoint.sha256)
        data = with_metadata(model, metadata)
        model_file.write_bytes(data)
        agreement = verify(model_file, module, metadata, threads, on_progress)
        sha256 = hashlib.sha256(data).hexdigest()
        exported = Exported(target, len(data), sha256, metadata, agreement)
        manifest_file.write_text(manifest(exported), encoding="utf-8")
    return exported


def build(checkpoint: Checkpoint, settings: Settings) -> VQGANDecoder:
    """The module in float32. Raises CheckpointError where the tensors make no decoder."""
    try:
        return VQGANDecoder.from_state_dict(
            checkpoint.tensors, settings.value_range, settings.group_norm_epsilon
        )
    except KeyError as error:
        raise CheckpointError(f"no decoder: a tensor is missing: {error.args[0]}") from error
    except (RuntimeError, ValueError, IndexError) as error:
        raise CheckpointError(f"the tensors make no decoder: {error}") from error


def to_onnx(module: VQGANDecoder, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The graph of a module, with nothing in it that tells when, where or by whom it was made."""
    example = torch.zeros(2, 3, 5, dtype=torch.int64)  # no size of 1, no two alike: all stay free
    free = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "rows", "cols"))}
    with _silence():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["ids"],
            output_names=["pixels"],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes={"ids": free},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    return model


def describe(
    model: onnx.ModelProto, module: VQGANDecoder, name: str, source_sha256: str
) -> dict[str, str]:
    """The metadata of a graph, its self-test included; see the top of this file."""
    # One thread, so that the recorded pixels do not depend on how many there happen to be.
    detokenizer = OnnxDetokenizer(model.SerializeToString(), threads=1)
    test = make_self_test(detokenizer, module.shape.codebook_size)
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": "full",
        "rowcast.precision": "fp32",
        "rowcast.model": name,
        "rowcast.codebook_size": str(module.shape.codebook_size),
        "rowcast.pixels_per_token": str(module.shape.pixels_per_token),
        "rowcast.value_range": "0..1",
        "rowcast.source_sha256": source_sha256,
        "rowcast.opset": str(model.opset_import[0].version),
        "rowcast.self_test": test.to_json(),
    }


def with_metadata(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """The bytes of the file."""
    onnx.helper.set_model_props(model, metadata)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def manifest(exported: Exported) -> str:
    """`manifest.json`: one entry for each detokenizer file beside it."""
    entry = {
        "file": exported.path.name,
        "bytes": exported.bytes,
        "sha256": exported.sha256,
        "metadata": exported.metadata,
        "agreement": asdict(exported.agreement),
    }
    return json.dumps({"format": 1, "files": [entry]}, indent=2) + "\n"


def _strip(model: onnx.ModelProto) -> None:
    """Drop paths, stack traces, versions and intermediate shapes; number the nodes."""
    model.ir_version = IR_VERSION
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    graph = model.graph
    graph.name = "detokenizer"
    for field in ("doc_string", "metadata_props", "value_info", "quantization_annotation"):
        graph.ClearField(field)
    parts: list[Any] = [*graph.input, *graph.output, *graph.node, *graph.initializer]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's banners, log lines and deprecations to itself; errors still raise."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
