"""Reproducible tracing of a torch module to an ONNX graph.

Nothing in the graph tells when, where or by whom it was made: the same module gives the same bytes
each time. This module must not know what a graph computes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

IR_VERSION: Final = 8  # the oldest that carries opset 18, so that old runtimes load the file
NOISY_LOGGERS: Final = ("torch", "torch.onnx", "onnxscript", "onnx_ir")


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: Any,
    opset: int,
    graph_name: str,
) -> onnx.ModelProto:
    """The graph of a module. ``dynamic_shapes``, torch.export's, name the axes that are free."""
    with _silence():
        program = torch.onnx.export(
            module,
            example,
            input_names=list(input_names),
            output_names=list(output_names),
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=dynamic_shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model, graph_name)
    return model


def _strip(model: onnx.ModelProto, graph_name: str) -> None:
    """Drop paths, stack traces, versions and intermediate shapes; number the nodes."""
    model.ir_version = IR_VERSION
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    graph = model.graph
    graph.name = graph_name
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
