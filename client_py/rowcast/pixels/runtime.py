"""ONNX Runtime, imported without its telemetry."""

from __future__ import annotations

import os
from typing import Any


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, which sends and keeps no telemetry unless the user wants it.

    From 1.29 on it writes to the home folder and looks up a host while it is imported, before its
    own `disable_telemetry_events` can be called: ORT_DISABLE_TELEMETRY is 1 unless it was set.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
