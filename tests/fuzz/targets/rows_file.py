"""`.rows` files: refused, or a picture, as the document says; and written as the same picture."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Final

from rowcast.errors import ReplayError
from rowcast.rows_file import decode_picture, encode_picture

from tests import document
from tests.fuzz.messagepack import depth, mutate
from tests.fuzz.mutation import below, blind
from tests.fuzz.target import Target, told
from tests.fuzz.targets.frames import MOST_DEPTH, TIMESTAMP
from tests.test_rows_format import read_rows_file

HEAD, CHECKSUM_BYTES = 5, 4
MOST_SEED_BYTES: Final = 2_100


def read(data: bytes) -> str:
    try:
        meaning = read_rows_file(data)
    except (document.Refused, RecursionError):
        meaning = None
    try:
        picture = decode_picture(data)
    except ReplayError as error:
        if meaning is not None and depth(data[HEAD:]) <= MOST_DEPTH:
            raise AssertionError(f"{data.hex()} was refused") from error
        return told(error)
    if meaning is None:
        assert depth(data[HEAD:]) > MOST_DEPTH or TIMESTAMP.search(data), data.hex()
        return "not the document's"
    assert picture.held_bytes == meaning["ids"]
    assert picture.recipe.prompt == meaning["prompt"]
    assert (picture.recipe.rows, picture.recipe.cols) == (meaning["rows"], meaning["cols"])
    written = encode_picture(picture)
    again = decode_picture(written)
    assert repr(again) == repr(picture)  # NaN is not itself
    assert encode_picture(again) == written
    assert read_rows_file(written).keys() == meaning.keys()
    return f"{picture.reason} {picture.rows_held}"


def summed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little")


def change(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mostly the array within, and its checksum is made right."""
    if random.random() < 0.05:
        return blind(random, data, others)
    other = others[below(random, len(others))]
    array = mutate(random, data[HEAD:-CHECKSUM_BYTES], [other[HEAD:-CHECKSUM_BYTES]])
    return summed(data[:HEAD] + array)


def seeds() -> list[bytes]:
    files = json.loads((document.ROOT / "tests/vectors/rows_files.json").read_text("utf-8"))[
        "files"
    ]
    datas = [bytes.fromhex(each["hex"]) for each in files]
    return [data for data in datas if len(data) <= MOST_SEED_BYTES]


TARGETS: Final = {"rows_file": Target(read, seeds, change)}
