"""`rowcast bench export` runs the real command; at real size: tests/vqgan_export."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rowcast.errors import RowcastError
from rowcast_bench import export

from tests.support.decoders import TINY


def test_every_file_has_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "QUICK", TINY)
    monkeypatch.setattr(export, "PRECISIONS", "fp32")
    text = io.StringIO()
    figures, report = export.run(Console(file=text), 1, True)
    sizes = figures["bytes"]
    assert sizes.keys() == {
        "detokenizer.onnx",
        "palette.npy",
    }
    assert sizes["detokenizer.onnx"] > sizes["palette.npy"]
    assert figures["cpu_seconds"] > 0
    assert figures["peak_mb"] > 0
    assert f"| {sizes['palette.npy'] / 1e6:.2f} |" in report
    assert "stage 2 of 2: exporting and verifying" in text.getvalue()


def test_an_export_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RowcastError, match=r"missing\.safetensors"):
        export.measure(tmp_path / "missing.safetensors", tmp_path / "out", 1)
