"""ONNX Runtime on the CPU: a detokenizer file as a client runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rowcast.pixels.runtime import import_onnxruntime

Pixels = npt.NDArray[np.float32]  # [batch, 3, height, width], 0..1
Bytes = npt.NDArray[np.uint8]  # [batch, height, width, 3]
Ids = npt.NDArray[np.int64]  # [batch, rows, cols]

ERRORS_ONLY = 3


class Decodes(Protocol):
    """What turns ids into pixels."""

    def decode(self, ids: Ids) -> Pixels:
        """Token ids -> pixels."""


class OnnxDetokenizer:
    """A session. ``model`` is a path or the bytes of a file; ``threads`` 0 means all cores.

    Raises whatever ONNX Runtime raises for a file that it cannot run.
    """

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = threads
        # Waiting threads that spin would take the cores from torch, which decodes in turn with us.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = model if isinstance(model, bytes) else str(model)
        self.session: Any = onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )

    @property
    def metadata(self) -> dict[str, str]:
        """The ``metadata_props`` of the file."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def decode(self, ids: Ids) -> Pixels:
        """Token ids -> pixels, as the file gives them."""
        pixels: Pixels = self.session.run(["pixels"], {"ids": ids})[0]
        return pixels


def to_bytes(pixels: Pixels) -> Bytes:
    """Pixels in 0..1 -> floor(x * 255), as every client paints them: [batch, height, width, 3]."""
    whole: Bytes = np.floor(pixels * np.float32(255)).astype(np.uint8)
    return whole.transpose(0, 2, 3, 1)
