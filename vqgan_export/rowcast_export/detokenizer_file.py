"""The detokenizer file: a decoder as an ONNX graph, its name and its metadata.

Opset 18 of ai.onnx and nothing else, group norms as InstanceNormalization (which onnxruntime-web
runs on every backend), weights inside. Input ``ids``, int64 [batch, rows, cols]; output ``pixels``,
float32 [batch, 3, rows * p, cols * p], clipped to 0..1. All of batch, rows and cols are free. The
same decoder gives the same bytes each time: files are named by hash.

Metadata (``metadata_props``, all strings):

============================ ===================================================================
``rowcast.format``           "1"
``rowcast.kind``             "full": the whole decoder; "preview": a small one that imitates it
``rowcast.precision``        "fp32", "fp16" or "int8"
``rowcast.model``            the name of the model
``rowcast.codebook_size``    valid ids are 0..size-1; the graph does not check them
``rowcast.pixels_per_token`` p
``rowcast.value_range``      of the output: "0..1"
``rowcast.source_sha256``    of the checkpoint file
``rowcast.opset``            "18"
``rowcast.self_test``        JSON, see ``self_test.py``
============================ ===================================================================

This module must not know where a decoder came from, nor where the file is written.
"""

from __future__ import annotations

from typing import Final

import onnx

from .preview.decoder import AnyDecoder
from .runtime import OnnxDetokenizer
from .self_test import make_self_test
from .settings import FORMAT_VERSION, PRECISIONS

STEMS: Final = {"full": "detokenizer", "preview": "preview"}  # of the file's name, by kind


def file_name(kind: str, precision: str) -> str:
    """Name of the file: ``detokenizer.onnx`` in fp32, ``preview.fp16.onnx`` and so on."""
    middle = "" if precision == PRECISIONS[0] else f".{precision}"
    return f"{STEMS[kind]}{middle}.onnx"


def describe(
    model: onnx.ModelProto,
    module: AnyDecoder,
    name: str,
    source_sha256: str,
    precision: str = PRECISIONS[0],
    kind: str = "full",
) -> dict[str, str]:
    """The metadata of a graph, its self-test included; see the top of this file."""
    # One thread, so that the recorded pixels do not depend on how many there happen to be.
    detokenizer = OnnxDetokenizer(model.SerializeToString(), threads=1)
    test = make_self_test(detokenizer, module.shape.codebook_size)
    return {
        "rowcast.format": FORMAT_VERSION,
        "rowcast.kind": kind,
        "rowcast.precision": precision,
        "rowcast.model": name,
        "rowcast.codebook_size": str(module.shape.codebook_size),
        "rowcast.pixels_per_token": str(module.shape.pixels_per_token),
        "rowcast.value_range": "0..1",
        "rowcast.source_sha256": source_sha256,
        "rowcast.opset": str(model.opset_import[0].version),
        "rowcast.self_test": test.to_json(),
    }


def with_metadata(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """Serialise the graph with its metadata: the bytes of the file."""
    onnx.helper.set_model_props(model, metadata)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
