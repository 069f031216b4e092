"""Which files a client fetches, in which order, from a real HTTP server."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from rowcast.errors import DetokenizerError, InvalidRequest
from rowcast.messages import DetokenizerFile
from rowcast.pixels.detokenizer import Detokenizer
from rowcast.pixels.loader import TierLoader
from rowcast.pixels.palette import Palette

from tests.support.client.loaders import SERVER, loader_of, until
from tests.support.client.shop import ALL, Shop
from tests.support.fake_server import CODES, MODEL
from tests.support.site import Handler, sends, site
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

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
