"""Which files a client fetches, in which order, from a real HTTP server; and which it refuses."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import rowcast
from msgspec.structs import replace
from rowcast.errors import DetokenizerError, InvalidRequest
from rowcast.events import PictureDone
from rowcast.messages import DetokenizerFile, Model
from rowcast.pixels import devices
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.loader import TierLoader
from rowcast.pixels.palette import Palette

from tests.support.easels import Table
from tests.support.fake_server import CODES, MODEL, accepted, done, rows
from tests.support.shop import ALL, Shop, open_shop
from tests.support.site import Handler, sends, site
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

SERVER = "ws://127.0.0.1:8765"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(tmp_path) as made:
        yield made


@contextmanager
def loader_of(model: Model, **options: Any) -> Iterator[TierLoader]:
    loader = TierLoader(SERVER, **options)
    try:
        loader.load(model)
        yield loader
    finally:
        loader.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# The order


def test_the_palette_is_there_first_and_the_full_file_comes_last(shop: Shop) -> None:
    with loader_of(shop.model(*ALL)) as loader:
        assert shop.asked[0] == "palette"
        assert loader.palette is not None
        assert loader.detokenizer is None
        until(lambda: loader.tier(is_whole=True) is not None)
        assert loader.descriptions == ("palette uint8", "preview fp32 on cpu")
        shop.gate.set()
        until(lambda: loader.detokenizer is not None)
        descriptions = loader.descriptions  # by now
        assert descriptions[-1] == "full fp32 on cpu"
    assert shop.asked == ["palette", "preview", "full"]


@pytest.mark.parametrize(
    ("quality", "asked"),
    [("palette", ["palette"]), ("preview", ["palette", "preview"])],
)
def test_no_more_is_fetched_than_the_quality_needs(
    shop: Shop, quality: str, asked: list[str]
) -> None:
    with loader_of(shop.model(*ALL), quality=quality) as loader:
        until(lambda: loader.detokenizer is not None and not loader.is_loading)
    assert shop.asked == asked
    assert loader.last_name == quality


def test_what_is_kept_is_not_fetched_again(shop: Shop) -> None:
    shop.gate.set()
    for _ in range(2):
        with loader_of(shop.model(*ALL)) as loader:
            until(lambda: loader.detokenizer is not None)
    assert len(shop.asked) == 3


def test_without_a_palette_the_first_file_is_waited_for(shop: Shop) -> None:
    shop.gate.set()
    with loader_of(shop.model("full")) as loader:
        assert isinstance(loader.detokenizer, Detokenizer)
        assert loader.palette is None
    with loader_of(shop.model("full", "preview")) as loader:
        assert loader.tier(is_whole=False) is not None


def test_without_a_preview_quality_preview_is_the_palette(shop: Shop) -> None:
    with loader_of(shop.model("full", "palette"), quality="preview") as loader:
        assert isinstance(loader.detokenizer, Palette)
    assert shop.asked == ["palette"]


@pytest.mark.parametrize(
    ("kinds", "quality"),
    [
        ((), "full"),
        (("palette", "preview"), "full"),
        (("full",), "palette"),
        (("full",), "preview"),
    ],
)
def test_a_server_without_what_the_quality_needs(
    shop: Shop, kinds: tuple[str, ...], quality: str
) -> None:
    with pytest.raises(DetokenizerError, match=f"offers no {quality} detokenizer"):
        TierLoader(SERVER, quality=quality).load(shop.model(*kinds))


def test_a_quality_that_there_is_not() -> None:
    with pytest.raises(InvalidRequest, match="one of palette, preview, full, not 'best'"):
        TierLoader(SERVER, quality="best")


# Files that are refused


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def short(content: bytes) -> bytes:
    return content[:-1]


@pytest.mark.parametrize("damage", [changed, short])
def test_a_palette_that_is_not_the_announced_one_is_refused_at_once(
    shop: Shop, damage: Callable[[bytes], bytes]
) -> None:
    shop.sent["palette"] = damage(shop.contents["palette"])
    with pytest.raises(DetokenizerError) as caught:
        TierLoader(SERVER).load(shop.model(*ALL))
    _names_both(str(caught.value), shop, "palette")


@pytest.mark.parametrize("damage", [changed, short])
def test_a_full_file_that_is_not_the_announced_one_is_told_at_the_end(
    shop: Shop, damage: Callable[[bytes], bytes]
) -> None:
    shop.gate.set()
    shop.sent["full"] = damage(shop.contents["full"])
    with loader_of(shop.model("palette", "full")) as loader:
        table = Table(loader)
        table.receive(accepted(), rows(0, 4), done())
        until(lambda: loader._failure is not None)
        with pytest.raises(DetokenizerError) as caught:
            table.settle()
        _names_both(str(caught.value), shop, "full")
        assert caught.value.pictures[0].complete
        shop.sent["full"] = shop.contents["full"]
        table = Table(loader)  # the next request tries again
        until(lambda: loader.detokenizer is not None)
        table.receive(accepted(), rows(0, 4), done())
        assert isinstance(table.settle()[-1], PictureDone)


def _names_both(told: str, shop: Shop, kind: str) -> None:
    assert f"{shop.url}/{kind}" in told
    assert hashlib.sha256(shop.sent[kind]).hexdigest() in told
    assert hashlib.sha256(shop.contents[kind]).hexdigest() in told


def test_a_preview_that_is_refused_is_done_without(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.gate.set()
    shop.sent["preview"] = changed(shop.contents["preview"])
    with loader_of(shop.model(*ALL)) as loader:
        until(lambda: loader.detokenizer is not None)
    assert loader.descriptions == ("palette uint8", "full fp32 on cpu")
    assert "going on without the preview" in caplog.text


@pytest.mark.parametrize(
    ("kind", "content", "fault"),
    [
        ("full", {"rowcast.kind": "preview"}, "is of kind preview, announced as full"),
        ("full", {"codebook_size": 95}, "paints 95 codes, .* the model tiny has 96"),
        ("palette", {"codebook_size": 95}, "95 codes .* the model has 96"),
    ],
)
def test_a_file_of_another_family_is_refused_with_its_name_and_checksums(
    shop: Shop, tmp_path: Path, kind: str, content: dict[str, Any], fault: str
) -> None:
    shop.gate.set()
    codes = int(content.pop("codebook_size", CODES))
    made = tmp_path / "made"
    if kind == "palette":
        tiny_palette(made, codes)
    else:
        tiny_detokenizer(made, codes, **content)
    shop.contents[kind] = shop.sent[kind] = made.read_bytes()
    model = shop.model(kind)
    quality = "palette" if kind == "palette" else "full"
    with pytest.raises(DetokenizerError, match=fault) as caught:
        TierLoader(SERVER, quality=quality).load(model)
    digest = model.files[0].sha256.hex()
    path = str(cached_path(model.files[0].sha256, kind=kind))
    assert path in str(caught.value)
    assert f"sha256 {digest}, announced {digest}" in str(caught.value)


def test_a_palette_announced_too_large_is_not_fetched(shop: Shop) -> None:
    model = shop.model("palette")
    huge = replace(model, files=[replace(model.files[0], bytes=2**40)])
    with pytest.raises(DetokenizerError, match="palette has at most 1048576"):
        TierLoader(SERVER, quality="palette").load(huge)
    assert shop.asked == []


def test_a_cache_that_takes_nothing_is_done_without(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    shop.gate.set()
    with loader_of(shop.model(*ALL), cache=tmp_path / "file") as loader:
        until(lambda: loader.detokenizer is not None)
        table = Table(loader)
        table.receive(accepted(), rows(0, 4), done())
        *_, end = table.settle()
        assert loader.detokenizer is not None
        whole = loader.detokenizer.decode(end.picture.grid[None])[0]
    assert np.array_equal(np.asarray(end.image), whole)
    assert caplog.text.count("held in memory") == 3


# The end


def test_closing_ends_a_download_and_the_next_client_takes_it_up(
    tmp_path: Path, own_cache: Path
) -> None:
    content = tiny_detokenizer(tmp_path / "full.onnx", CODES, note="x" * 300_000).read_bytes()
    palette = tiny_palette(tmp_path / "palette.npy", CODES).read_bytes()
    ranges: list[str | None] = []
    over = threading.Event()

    def answer(handler: Handler) -> None:
        if handler.path == "/palette":
            sends(palette)(handler)
            return
        asked = handler.headers.get("Range")
        ranges.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - first))
        handler.end_headers()
        if asked:
            handler.wfile.write(content[first:])
        for chunk in () if asked else range(first, len(content), 10_000):
            handler.wfile.write(content[chunk : chunk + 10_000])
            over.wait(0.05)

    with site(answer) as web:
        base = web.url.rpartition("/")[0]
        files = [
            DetokenizerFile(
                kind, precision, len(data), hashlib.sha256(data).digest(), f"{base}/{kind}"
            )
            for kind, precision, data in (
                ("palette", "uint8", palette),
                ("full", "fp32", content),
            )
        ]
        model = replace(MODEL, files=files)
        told: list[int] = []
        with loader_of(model, progress=lambda received, _: told.append(received)) as loader:
            until(lambda: len(told) > 3)
        assert not loader.is_loading
        assert loader.detokenizer is None
        over.set()
        with loader_of(model) as loader:
            until(lambda: loader.detokenizer is not None)
    assert ranges[0] is None
    assert ranges[1] is not None
    assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) > 0


# Devices


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
