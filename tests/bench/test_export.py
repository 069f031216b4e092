"""`rowcast bench export` runs the real command; at real size: tests/vqgan_export."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rowcast_bench import export

from tests.support.decoders import TINY


def test_every_file_has_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "QUICK", TINY)
    text = io.StringIO()
    figures = export.run(1, True, Console(file=text))
    sizes = figures["bytes"]
    assert sizes.keys() == {
        "detokenizer.onnx",
        "detokenizer.fp16.onnx",
        "detokenizer.int8.onnx",
        "palette.npy",
    }
    assert sizes["detokenizer.onnx"] > sizes["detokenizer.fp16.onnx"]
    assert figures["cpu_seconds"] > 0
    assert figures["peak_mb"] > 0
    assert "stage 2 of 2: exporting and verifying" in text.getvalue()
