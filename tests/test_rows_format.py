"""The .rows format: the golden files, read and written by a program made from section 9 alone."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import msgpack
import pytest

from tests import document

VECTORS = document.ROOT / "tests" / "vectors" / "rows_files.json"
OF_FILES: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
ROWS_FILES: list[dict[str, Any]] = OF_FILES["files"]
LATER = OF_FILES["later"]


def read_rows_file(data: bytes) -> dict[str, Any]:
    """A reader of .rows files written from section 9 alone. Raises Refused."""
    if not 9 <= len(data) <= 81_920 or data[:5] != b"ROWS\x01":
        raise document.Refused("no .rows file of version 1")
    if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
        raise document.Refused("damaged")
    array = document.unpack(data[5:-4])
    kinds = document.table("element", "type")
    needed = [name for name, _, meaning in kinds if not document.LEFT_OUT.search(meaning)]
    if not isinstance(array, list) or len(array) < len(needed):
        raise document.Refused("elements are missing")
    values = {name: 0 for name, *_ in kinds} | {
        name: document.read(value, kind)
        for value, (name, kind, _) in zip(array, kinds, strict=False)
    }
    held, rest = divmod(len(values["ids"]), values["cols"] * values["id_bytes"])
    if rest or held > values["rows"]:
        raise document.Refused("not whole rows, or too many")
    return values


def as_json(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize("vector", ROWS_FILES, ids=lambda vector: vector["name"])
def test_rows_files_read_as_the_document_says(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    if vector["valid"]:
        values = read_rows_file(data)
        assert {name: as_json(value) for name, value in values.items()} == vector["meaning"]
    else:
        with pytest.raises(document.Refused):
            read_rows_file(data)


@pytest.mark.parametrize(
    "vector", [v for v in ROWS_FILES if v.get("canonical")], ids=lambda vector: vector["name"]
)
def test_rows_files_write_to_the_same_bytes(vector: dict[str, Any]) -> None:
    kinds = {name: kind for name, kind, _ in document.table("element", "type")}
    array = [
        bytes.fromhex(value) if kinds[name].startswith("bin") and value is not None else value
        for name, value in vector["meaning"].items()
    ]
    while not array[-1] and list(kinds)[len(array) - 1] in LATER:
        array.pop()  # may be left out
    data = b"ROWS\x01" + msgpack.packb(array)
    data += struct.pack("<I", zlib.crc32(data))
    assert data.hex() == vector["hex"]
    assert list(vector["meaning"]) == list(kinds)


def test_rows_file_shown_in_the_document_is_one_of_the_vectors() -> None:
    (block,) = document.code_blocks("rows")
    lines = [line.partition(";")[0] for line in block.splitlines()]
    shown = bytes.fromhex("".join(lines)).hex()
    assert shown in [vector["hex"] for vector in ROWS_FILES if vector["valid"]]
    values = read_rows_file(bytes.fromhex(shown))
    assert (values["rows"], values["cols"], len(values["ids"])) == (4, 4, 16)
    assert values["reason"] == 255
