"""Files that are refused: damaged, of another kind or model, too large."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from rowcast.errors import DetokenizerError
from rowcast.events import PictureDone
from rowcast.pixels.artifacts import cached_path
from rowcast.pixels.loader import TierLoader

from tests.support.client.easels import Table
from tests.support.client.loaders import SERVER, loader_of, until
from tests.support.client.shop import ALL, Shop
from tests.support.fake_server import CODES, accepted, done, rows
from tests.support.tiny_model import tiny_detokenizer, tiny_palette


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
    assert f"it is as announced: {digest}" in str(caught.value)


def test_a_palette_announced_too_large_is_not_fetched(shop: Shop) -> None:
    model = shop.model("palette")
    huge = replace(model, files=[replace(model.files[0], bytes=2**40)])
    with pytest.raises(DetokenizerError, match="palette file of a decoder has at most 1048576"):
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
    assert caplog.text.count("held in memory") == 1  # of all three
