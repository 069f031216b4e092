"""Reproducible tracing of a torch module to an ONNX graph.

Nothing in the graph tells when, where or by whom it was made: the same module gives the same bytes
each time. This module must not know what a graph computes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any, Final

import onnx
import torch
from torch import nn

from .settings import OPSETS

IR_VERSION: Final = 8  # the oldest that carries opset 18, so that old runtimes load the file


def to_onnx(module: nn.Module, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The graph of a module from ids [batch, rows, cols], all of them free, to pixels."""
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
    """Suppress torch's banners, log lines and deprecations; errors still raise."""
    before = logging.root.manager.disable
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
