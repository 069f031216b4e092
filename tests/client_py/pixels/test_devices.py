"""Devices that decode: their precisions, and which of them is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import rowcast
from rowcast.errors import DetokenizerError, InvalidRequest
from rowcast.pixels import devices
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.loader import TierLoader

from tests.support.client.loaders import SERVER
from tests.support.client.shop import Shop
from tests.support.fake_server import CODES
from tests.support.tiny_model import tiny_detokenizer


def test_the_cpu_takes_fp32_and_says_so(shop: Shop) -> None:
    shop.gate.set()
    loader = TierLoader(SERVER, threads=2)
    assert loader.precisions == ("fp32", "fp16", "int8")
    loader.load(shop.model("full"))
    assert loader.descriptions == ("full fp32 on cpu",)


def test_a_gpu_takes_fp16_and_the_recipe_names_that_file(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    loader = TierLoader(SERVER, providers=("cuda", "cpu"))
    assert loader.precisions[0] == "fp16"
    assert TierLoader(SERVER).precisions[0] == "fp32"
    for connect in (rowcast.connect, rowcast.connect_sync):
        assert connect(SERVER, providers=("cuda", "cpu")).session._precisions == loader.precisions
        without = connect(SERVER, decode=False).session
        assert connect(SERVER).session._precisions == without._precisions


@pytest.mark.parametrize("providers", ["cpu", (), ("gpu",), ("cpu", "tpu")])
def test_a_provider_that_there_is_not(providers: Any) -> None:
    with pytest.raises(InvalidRequest, match="some of cpu, cuda, coreml, directml"):
        TierLoader(SERVER, providers=providers)


def test_providers_that_are_not_offered_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert devices.usable(("cuda", "coreml", "cpu")) == ("cpu",)
    with pytest.raises(DetokenizerError, match="offers none of cuda here, only CPU"):
        devices.usable(("cuda",))


def test_a_provider_that_fails_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not downloaded twice: the same file runs elsewhere."""
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    real = onnxruntime.InferenceSession

    def session(*arguments: Any, providers: list[str], **options: Any) -> Any:
        if providers == ["CUDAExecutionProvider"]:
            raise RuntimeError("no kernel image for this device")
        return real(*arguments, providers=providers, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    path = tiny_detokenizer(tmp_path / "full.onnx", CODES)
    assert Detokenizer(path, providers=("cuda", "cpu")).provider == "cpu"
    assert "cuda cannot run" in caplog.text
    assert "no kernel image" in caplog.text


def test_several_pictures_are_decoded_within_a_budget_of_memory(tmp_path: Path) -> None:
    detokenizer = Detokenizer(tiny_detokenizer(tmp_path / "full.onnx", CODES))
    shapes: list[int] = []
    run = detokenizer._run

    def counted(grid: Any) -> Any:
        shapes.append(len(grid))
        return run(grid)

    detokenizer._run = counted  # type: ignore[method-assign]
    ids = np.arange(9 * 16).reshape(9, 4, 4) % CODES
    at_once = detokenizer.decode(ids)
    assert shapes == [9]
    of_two = detokenizer.decode(ids, memory_bytes=2 * 16 * 16 * 4 * 128 * 4)
    assert shapes == [9, 2, 2, 2, 2, 1]
    assert np.array_equal(at_once, of_two)
    detokenizer.decode(ids, memory_bytes=0)
    assert shapes[6:] == [1] * 9
