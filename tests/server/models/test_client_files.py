"""What a model folder offers to clients, and what of it does not belong together."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
import rowcast
from rowcast.messages import MAX_PALETTE_BYTES
from rowcast.pixels.detokenizer import Detokenizer
from rowcast_server.errors import ModelError
from rowcast_server.models.client_files import read_detokenizer
from rowcast_server.models.loading import load
from rowcast_server.server import announce

from tests.support.servers import running_server
from tests.support.tiny_model import tiny_detokenizer, tiny_palette

CODES = 96


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_detokenizer(tmp_path / "detokenizer.onnx", CODES)


def test_all_files_of_the_folder_are_offered_the_full_one_first(path: Path) -> None:
    for precision in ("int8", "fp16"):
        other = path.with_name(f"detokenizer.{precision}.onnx")
        tiny_detokenizer(other, CODES, **{"rowcast.precision": precision})
    tiny_detokenizer(path.with_name("a.onnx"), CODES, **{"rowcast.kind": "preview"})
    palette = tiny_palette(path.with_name("palette.npy"), CODES)
    files = read_detokenizer(path).files
    assert [(file.kind, file.precision) for file in files] == [
        ("full", "fp32"),
        ("preview", "fp32"),
        ("full", "fp16"),
        ("full", "int8"),
        ("palette", "uint8"),
    ]
    for file in files:
        content = file.path.read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).digest())
    assert files[-1].path == palette


@pytest.mark.parametrize(
    ("codes", "begin"), [(CODES, b"PREV\1\0\0\0"), (95, b"PREV\1\0\0\0"), (CODES, b"PREV\2\0\0\0")]
)
def test_weights_of_a_preview_are_offered_if_they_are_this_decoders(
    path: Path, codes: int, begin: bytes
) -> None:
    side = read_detokenizer(path).pixels_per_token
    weights = path.with_name("preview.int8.bin")
    weights.write_bytes(begin + struct.pack("<II", codes, side))
    path.with_name("other.bin").write_bytes(b"somebody else's")
    if codes == CODES and begin[4] == 1:
        assert [(file.kind, file.precision) for file in read_detokenizer(path).files] == [
            ("full", "fp32"),
            ("preview_weights", "int8"),
        ]
    else:
        with pytest.raises(ModelError, match=r"preview\.int8\.bin has no weights of a preview"):
            read_detokenizer(path)


def test_the_shipped_model_offers_its_palette() -> None:
    files = announce(load("postcard")).files
    assert [(file.kind, file.precision) for file in files][:1] == [("full", "fp32")]
    (palette,) = (file for file in files if file.kind == "palette")
    assert palette.bytes <= 800_000
    assert palette.url == f"detokenizer/{palette.sha256.hex()}.npy"


def test_a_client_shows_the_shipped_models_preview() -> None:
    with (
        running_server("postcard") as server,
        rowcast.connect_sync(server.ws_url, quality="preview") as client,
    ):
        [done] = client.pictures("a red house at sunset", seed=1)
        assert client.tiers == ("palette uint8", "preview fp16 on cpu")
    (preview,) = (file.path for file in load("postcard").files if file.kind == "preview")
    expected = Detokenizer(preview).decode(done.picture.grid[None])[0]
    assert np.array_equal(np.asarray(done.image), expected)


def test_somebody_elses_onnx_file_is_not_offered(path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path.with_name("other.onnx"))
    assert len(read_detokenizer(path).files) == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rowcast.source_sha256": "ab"}, "rowcast.source_sha256 ab, but .* None"),
        ({"rowcast.codebook_size": "95"}, "rowcast.codebook_size 95, but .* 96"),
        ({"rowcast.pixels_per_token": "8"}, "rowcast.pixels_per_token 8, but .* 4"),
        ({"rowcast.kind": "k" * 33}, "does not say its rowcast.kind"),
    ],
)
def test_a_file_of_another_decoder_is_named(
    path: Path, changes: dict[str, str], fault: str
) -> None:
    tiny_detokenizer(path.with_name("detokenizer.fp16.onnx"), CODES, **changes)
    with pytest.raises(ModelError, match=rf"detokenizer\.fp16\.onnx .*{fault}"):
        read_detokenizer(path)


def test_a_damaged_file_beside_it_is_named(path: Path) -> None:
    path.with_name("detokenizer.int8.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"detokenizer\.int8\.onnx is no ONNX file"):
        read_detokenizer(path)


@pytest.mark.parametrize(("codes", "side"), [(95, 2), (97, 2), (96, 3)])
def test_a_palette_of_another_decoder_is_named(path: Path, codes: int, side: int) -> None:
    tiny_palette(path.with_name("palette.npy"), codes, side)
    with pytest.raises(ModelError, match=rf"palette\.npy has {codes} codes of {side} x {side}"):
        read_detokenizer(path)


@pytest.mark.parametrize("keep", [0, 50, -1])
def test_a_damaged_palette_is_named(path: Path, keep: int) -> None:
    palette = tiny_palette(path.with_name("palette.npy"), CODES)
    palette.write_bytes(palette.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"palette\.npy is (no palette|damaged or cut short)"):
        read_detokenizer(path)


def test_a_palette_too_large_for_the_protocol_is_left_out(path: Path) -> None:
    np.save(path.with_name("palette.npy"), np.zeros(MAX_PALETTE_BYTES, np.uint8))
    assert [file.kind for file in read_detokenizer(path).files] == ["full"]
