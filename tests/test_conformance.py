"""The vectors, tried by the loop of protocol.md section 8.1; share links by its section 12."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
from rowcast.messages import view_key

from tests import document
from tests.test_rows_format import ROWS_FILES, read_rows_file
from tests.test_rows_format import as_json as file_as_json
from tools import append_to_vectors

VECTORS = document.ROOT / "tests" / "vectors"
OF_FRAMES: dict[str, Any] = json.loads((VECTORS / "frames.json").read_text("utf-8"))
FRAMES: list[dict[str, Any]] = OF_FRAMES["frames"]
LATER: set[str] = {*OF_FRAMES["later"]}
LINKS: list[dict[str, Any]] = json.loads((VECTORS / "links.json").read_text("utf-8"))["links"]


def decode(side: str, data: bytes) -> Any:
    return document.as_json(document.decode_frame(side, data))


def encode(meaning: dict[str, Any]) -> bytes:
    part = meaning["message"]
    packed: bytes = msgpack.packb(document.elements(part, document.from_json(part, meaning)))
    return packed


def tried(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **codec: Any) -> str:
    """What the document's loop prints of a codec."""
    module = ModuleType("my_codec")
    vars(module).update({"Malformed": document.Refused, "decode": decode, "encode": encode} | codec)
    monkeypatch.setitem(sys.modules, "my_codec", module)
    monkeypatch.chdir(document.ROOT)
    (loop,) = document.code_blocks("py")
    exec(compile(loop, "protocol.md", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


def test_the_loop_of_the_document_tries_a_codec(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(monkeypatch, capsys) == f"0 of {len(FRAMES)} failed\n"


def cut(meaning: dict[str, Any]) -> bytes:
    return encode(meaning)[:-1]


def wide(meaning: dict[str, Any]) -> bytes:
    data = encode(meaning)  # an array of fewer than 16 elements
    return b"\xdc\x00" + bytes([data[0] - 0x90]) + data[1:]


@pytest.mark.parametrize(
    ("codec", "failed"),
    [
        ({"encode": cut}, [f["name"] for f in FRAMES if f.get("canonical")]),
        # Wider is right as well, but where the frame is full.
        ({"encode": wide}, [f["name"] for f in FRAMES if len(f["hex"]) == 2 * 16_384]),
        (
            {"decode": lambda *_: None},
            [f["name"] for f in FRAMES if not f["valid"] or f["meaning"]],
        ),
    ],
    ids=["writes-too-little", "writes-in-another-width", "reads-nothing"],
)
def test_the_loop_finds_what_a_codec_does_wrong_and_that_alone(
    codec: dict[str, Callable[..., Any]],
    failed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = tried(monkeypatch, capsys, **codec).splitlines()
    assert [line.split("'")[1] for line in lines[:-1]] == failed
    assert lines[-1] == f"{len(failed)} of {len(FRAMES)} failed"


# What a MessagePack library for general use may lack


def one_kind_of_number(data: bytes) -> Any:
    def told_apart_no_more(value: Any) -> Any:
        if isinstance(value, list):
            return [told_apart_no_more(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return told_apart_no_more(STRICT(data))


def unpacked(data: bytes, **options: Any) -> Any:
    strict = {"object_pairs_hook": document.Map, "strict_map_key": False}
    try:
        return msgpack.unpackb(data, **strict | {"unicode_errors": "surrogateescape"} | options)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise document.Refused(str(error)) from error


def any_nesting(data: bytes) -> Any:
    """Arrays of one element, in each other, as one: a library without a limit reads them."""
    return STRICT(re.sub(rb"\x91{17,}", b"\x91", data))


def earlier(*header: str) -> list[list[str]]:
    """A table before any field was appended."""
    return [row for row in TABLE(*header) if row[0] not in LATER]


STRICT, TABLE, FIELDS = document.unpack, document.table, document.fields.__wrapped__
LACKING: dict[str, dict[str, Callable[..., Any]]] = {
    "number-kinds": {"unpack": one_kind_of_number},
    "strict-utf-8": {"unpack": lambda data: unpacked(data, unicode_errors="replace")},
    "any-map-keys": {"unpack": lambda data: unpacked(data, strict_map_key=True)},
    "bounded-nesting": {"unpack": any_nesting},
    "later-fields": {"table": earlier, "fields": FIELDS},
}


def agrees(vector: dict[str, Any]) -> bool:
    data = bytes.fromhex(vector["hex"])
    try:
        if "from" in vector:
            meaning = decode(vector["from"], data)
        else:
            meaning = {name: file_as_json(value) for name, value in read_rows_file(data).items()}
    except document.Refused:
        return not vector["valid"]
    return bool(vector["valid"] and without_later(meaning) == without_later(vector["meaning"]))


def without_later(meaning: Any) -> Any:
    if isinstance(meaning, dict):
        known = {name: item for name, item in meaning.items() if name not in LATER}
        return {name: without_later(item) for name, item in known.items()}
    return [*map(without_later, meaning)] if isinstance(meaning, list) else meaning


@pytest.mark.parametrize("need", LACKING)
def test_a_library_that_lacks_something_fails_the_vectors_that_say_so(
    need: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, lacking in LACKING[need].items():
        monkeypatch.setattr(document, name, lacking)
    vectors = [*FRAMES, *ROWS_FILES]
    failed = [vector["name"] for vector in vectors if not agrees(vector)]
    assert failed == [vector["name"] for vector in vectors if vector.get("needs") == need]
    assert failed
    lines = tried(monkeypatch, capsys).splitlines()
    assert [line.split("'")[1] for line in lines[:-1]] == [
        frame["name"] for frame in FRAMES if frame["name"] in failed
    ]


def test_fields_that_were_appended_have_a_default_and_end_their_table() -> None:
    parts = {"model": 2, "sampling": 1, "options": 1, "accepted": 2}
    ends = [field for part, count in parts.items() for field in FIELDS(part)[-count:]]
    assert {name for name, _, _ in ends} == LATER
    assert all(default for _, _, default in ends)
    assert all(
        name not in LATER for part, count in parts.items() for name, *_ in FIELDS(part)[:-count]
    )


def test_an_appended_field_is_written_into_the_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("frames.json", "rows_files.json"):
        (tmp_path / name).write_bytes((VECTORS / name).read_bytes())
    monkeypatch.setattr(append_to_vectors, "VECTORS", tmp_path)
    append_to_vectors.main()
    before = (tmp_path / "frames.json").read_bytes()
    assert before == (VECTORS / "frames.json").read_bytes()
    assert capsys.readouterr().out == ""

    def longer(part: str) -> list[tuple[str, str, str | None]]:
        more = [("top_a", "float or nil", "nil")] if part == "options" else []
        return [*FIELDS(part), *more]

    monkeypatch.setattr(document, "fields", longer)
    append_to_vectors.main()
    assert capsys.readouterr().out == "by hand: start-extra-options-ignored\n"
    frames = json.loads((tmp_path / "frames.json").read_text("utf-8"))["frames"]
    starts = [each for each in frames if each["valid"] and "options" in (each["meaning"] or {})]
    assert len(starts) > 10
    for frame in starts:
        if frame["name"] != "start-extra-options-ignored":
            assert frame["meaning"]["options"]["top_a"] is None
            assert decode("client", bytes.fromhex(frame["hex"])) == frame["meaning"]
            if frame["canonical"]:
                assert encode(frame["meaning"]).hex() == frame["hex"]


def test_every_need_is_explained() -> None:
    assert [row[0] for row in document.table("needs")] == list(LACKING)
    marked = {vector["needs"] for vector in (*FRAMES, *ROWS_FILES) if "needs" in vector}
    assert marked == LACKING.keys()
    about = " ".join(json.loads((VECTORS / "frames.json").read_text("utf-8"))["about"])
    assert [need for need in LACKING if need not in about] == []


# Share links


def read_link(text: str) -> dict[str, Any] | None:
    """A reader of share links made from section 12 alone; None for what is none."""
    (expression,) = document.code_blocks("expression")
    found = re.fullmatch(expression.strip(), text)
    if found is None:
        return None
    server, key, first, last = found.groups()
    numbers = int(first), int(last or first)
    if not 0 <= numbers[0] <= numbers[1] <= 65_535:
        return None
    return {"server": server, "view_key": key, "first": numbers[0], "last": numbers[1]}


@pytest.mark.parametrize("vector", LINKS, ids=lambda vector: vector["name"])
def test_links_read_as_the_document_says(vector: dict[str, Any]) -> None:
    assert read_link(vector["link"]) == vector.get("meaning")
    assert vector["valid"] is ("meaning" in vector)
    assert vector["valid"] is not ("why" in vector)


def test_links_shown_in_the_document_are_one_link() -> None:
    bare, in_a_page = (block.strip() for block in document.code_blocks("link"))
    meaning = read_link(bare)
    assert meaning is not None
    assert meaning["view_key"] == view_key(bytes(range(16))).hex()
    assert bare in [vector["link"] for vector in LINKS if vector["valid"]]
    page, _, fragment = in_a_page.partition("#")
    assert fragment == quote(bare, safe="!'()*")  # as encodeURIComponent leaves them
    assert page == "https://draw.example/"
