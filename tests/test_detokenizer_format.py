"""Section 10 of protocol.md and the files that are written: metadata, self-test, the graph."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from rowcast.picture import PRECISIONS
from rowcast.pixels.devices import GPU_PRECISIONS

from tests import document
from tests.support.tiny_model import PIXELS_PER_TOKEN, tiny_detokenizer

EXPORTER = document.ROOT / "vqgan_export" / "rowcast_export"
CODES = 96


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_detokenizer(tmp_path_factory.mktemp("detokenizer") / "full.onnx", CODES)


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of a protobuf message's fields, numbers without content (R-106)."""
    place = 0

    def varint() -> int:
        nonlocal place
        number = shift = 0
        while True:
            byte = message[place]
            place += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while place < len(message):
        tag = varint()
        if tag & 7 == 0:
            varint()
            yield tag >> 3, b""
            continue
        length = {1: 8, 5: 4}[tag & 7] if tag & 7 != 2 else varint()
        yield tag >> 3, message[place : place + length]
        place += length


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of an ONNX file without a library, as R-106 says."""
    entries = (dict(fields(content)) for number, content in fields(data) if number == 14)
    return {entry[1].decode(): entry[2].decode() for entry in entries}


def test_metadata_can_be_read_from_the_bytes_of_the_file(file: Path) -> None:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = metadata_of(file.read_bytes())
    assert found == session.get_modelmeta().custom_metadata_map
    assert found["rowcast.codebook_size"] == str(CODES)


def test_metadata_are_those_that_the_exporter_writes() -> None:
    source = (EXPORTER / "detokenizer_file.py").read_text("utf-8")
    written = re.findall(r'^        "(rowcast\.\w+)": ', source, re.MULTILINE)
    assert [row[0].strip("`") for row in document.table("metadata key")] == written
    settings = (EXPORTER / "settings.py").read_text("utf-8")
    assert "OPSETS: Final = (18, 17)" in settings
    assert "is of opset 18, or 17, of `ai.onnx`" in document.TEXT
    assert '"rowcast.value_range": "0..1"' in source


def test_a_self_test_has_the_fields_of_the_table_and_is_passed_as_the_document_says(
    file: Path,
) -> None:
    names = [row[0] for row in document.table("self-test")]
    source = (EXPORTER / "self_test.py").read_text("utf-8")
    record = source[source.index("class SelfTest") : source.index("def to_json")]
    assert set(names) == set(re.findall(r"^    (\w+): ", record, re.MULTILINE))
    test = json.loads(metadata_of(file.read_bytes())["rowcast.self_test"])
    assert test.keys() == set(names)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    grid = np.array(test["ids"], np.int64).reshape(1, test["rows"], test["cols"])
    (pixels,) = session.run(["pixels"], {"ids": grid})
    picture = (pixels[0] * np.float32(255)).astype(np.uint8)  # [3, height, width]
    side, (_, height, width) = test["thumbnail_side"], picture.shape
    blocks = picture.reshape(3, side, height // side, side, width // side)
    means = blocks.mean((2, 4)).transpose(1, 2, 0).ravel()
    assert np.abs(means - np.ravel(test["thumbnail"])).max() <= test["tolerance"]


@pytest.mark.parametrize("shape", [(1, 1, 4), (3, 2, 4), (1, 8, 12)], ids=str)
def test_any_batch_and_fewer_or_more_rows_may_be_fed(
    file: Path, shape: tuple[int, int, int]
) -> None:
    (operators,) = onnx.load(file).opset_import
    assert (operators.domain, operators.version) == ("", 18)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (pixels,) = session.run(["pixels"], {"ids": np.zeros(shape, np.int64)})
    batch, rows, cols = shape
    assert pixels.shape == (batch, 3, rows * PIXELS_PER_TOKEN, cols * PIXELS_PER_TOKEN)
    assert pixels.dtype == np.float32


def test_the_order_of_precisions_is_the_clients() -> None:
    (rule,) = re.findall(r"^- \*\*R-107\*\* (.*)$", document.TEXT, re.MULTILINE)
    assert "the first there is of " + ", ".join(f"`{p}`" for p in PRECISIONS) in rule
    assert f"on a GPU takes `{GPU_PRECISIONS[0]}` first" in rule
