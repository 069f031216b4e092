"""protocol.md, read by a program: its tables, and a slow decoder made from them and `msgpack`.

It is the reference that the codec is tested against, so it must not import the codec: what it
knows of the wire, it knows from the document.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import msgpack

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "protocol.md").read_text(encoding="utf-8")


LEFT_OUT = re.compile(r"may be left out: (0|empty)$")  # how a table tells a default


class Refused(Exception):
    """The document says that this is no message."""


class Map(tuple[Any, ...]):
    """A MessagePack map, kept apart from arrays; its keys need not be hashable."""


def tables() -> Iterator[list[list[str]]]:
    """Every table as rows of cells, the header first."""
    for is_table, lines in groupby(TEXT.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            yield [row for row in rows if not all(set(cell) <= set("-") for cell in row)]


@cache
def table(*header: str) -> list[list[str]]:
    """The body of the one table whose header begins so."""
    found = [rows[1:] for rows in tables() if tuple(rows[0][: len(header)]) == header]
    assert len(found) == 1, f"{len(found)} tables begin with {header}"
    return found[0]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def rules() -> list[int]:
    """The numbers of the rules, in the order of the document."""
    return [int(number) for number in re.findall(r"^(?:- \*\*|\| )R-(\d+)(?:\*\*| \|)", TEXT, re.M)]


@cache
def size(name: str) -> int:
    """A number of section 5."""
    rows = table("maximum") + table("exactly")
    (value,) = (value for _, value, cell in rows if cell == f"`{name}`")
    return int(value.replace(",", ""))


@cache
def fields(part: str) -> list[tuple[str, str, str | None]]:
    """(name, type, default or None) of each field of a message, or of a part of one."""
    rows = table(f"`{part}`", "type")
    if part == "options":  # the only table with a column of defaults
        return [(row[0], row[1], row[2]) for row in rows]
    defaults = (LEFT_OUT.search(row[2]) for row in rows)
    return [
        (row[0], row[1], found[1] if found else None)
        for row, found in zip(rows, defaults, strict=True)
    ]


def decode_frame(side: str, frame: bytes) -> dict[str, Any] | None:
    """What a frame of `client` or `server` says; None if it is to be ignored.

    ``{"message": name, field: value, …}``, byte strings as bytes. Raises Refused.
    """
    limits = {"client": "MAX_CLIENT_FRAME_BYTES", "server": "MAX_WELCOME_BYTES"}
    if len(frame) > size(limits[side]):
        raise Refused("too long")
    elements = unpack(frame)
    if not isinstance(elements, list) or not elements or type(elements[0]) is not int:
        raise Refused("not an array that begins with a tag")
    tag, *values = elements
    known = {int(row[0]): row for row in table("tag", "name")}
    if tag in known and known[tag][2] in (side, "both"):
        name = known[tag][1].strip("`")
        message = {"message": name, **read_part(name, values)}
    elif tag >= size("FIRST_OPTIONAL_TAG"):
        name, message = "", None
    else:
        raise Refused(f"tag {tag}")
    if side == "server" and name != "welcome" and len(frame) > size("MAX_SERVER_FRAME_BYTES"):
        raise Refused("too long")
    return message


def unpack(data: bytes) -> Any:
    """One MessagePack value and nothing after it. Text that is not UTF-8 is left to `read`."""
    try:
        return msgpack.unpackb(
            data,
            object_pairs_hook=Map,
            strict_map_key=False,
            unicode_errors="surrogateescape",
            ext_hook=lambda code, content: Map((code, content)),  # its own takes no code below 0
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise Refused(str(error)) from error


def read_part(part: str, values: list[Any]) -> dict[str, Any]:
    read_fields = {}
    for position, (name, kind, default) in enumerate(fields(part)):
        if position < len(values):
            read_fields[name] = read(values[position], kind)
        elif default is not None:
            read_fields[name] = nothing_of(kind, default)
        elif kind == "`options`":
            read_fields[name] = read_part("options", [])
        else:
            raise Refused(f"{part} lacks {name}")
    return read_fields


def nothing_of(kind: str, default: str) -> Any:
    """What a field is that was left out."""
    if default == "empty":
        return "" if kind.startswith("str") else []
    nothing = read_part("range", [0.0, 0.0, 0.0]) if kind == "`range`" else 0
    return {"nil": None, "0": nothing}[default]


def read(value: Any, kind: str) -> Any:
    """A value of a type as the document writes it: `int 0…9`, `bin 8 or nil`, `array …`."""
    if kind.endswith(" or nil"):
        return None if value is None else read(value, kind.removesuffix(" or nil"))
    name, _, bounds = kind.partition(" ")
    if name.startswith("`"):
        if not isinstance(value, list):
            raise Refused(f"{value!r} is not an array")
        return read_part(name.strip("`"), value)
    python: dict[str, Any] = {
        "int": int,
        "float": int | float,
        "str": str,
        "bin": bytes,
        "array": list,
    }
    if not isinstance(value, python[name]) or isinstance(value, bool):
        raise Refused(f"{value!r} is not {kind}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Refused("not UTF-8")
    bounds, _, item = bounds.partition(" of ")
    measure = value if isinstance(value, int | float) else len(value)
    if " or " in bounds:
        inside = any(measure == int(each) for each in bounds.split(" or "))
    elif bounds:
        low, _, high = bounds.partition("…")
        inside = int(low) <= measure <= int(high or low)
    else:
        inside = name != "int" or -(2**63) <= measure < 2**63
    if not inside:
        raise Refused(f"{value!r} is not {kind}")
    return [read(element, item) for element in value] if name == "array" else value


def elements(part: str, meaning: dict[str, Any]) -> list[Any]:
    """The array of a message or a part, from what it says: the way back of `decode_frame`."""

    def element(value: Any, kind: str) -> Any:
        if kind.startswith("array"):
            item = kind.rpartition(" of ")[2]
            return [element(each, item) for each in value]
        if kind.startswith("`"):
            return elements(kind.strip("`"), value)
        return value

    array = [element(meaning[name], kind) for name, kind, _ in fields(part)]
    if "message" in meaning:
        (tag,) = (row[0] for row in table("tag", "name") if row[1] == f"`{part}`")
        array.insert(0, int(tag))
    if part in ("accepted", "model"):
        for name, kind, default in reversed(fields(part)):
            if default is None or meaning[name] != nothing_of(kind, default):
                break
            array.pop()
    return array


def from_json(part: str, meaning: dict[str, Any]) -> dict[str, Any]:
    """A meaning as the vectors write it in JSON: byte strings as hexadecimal, NaN as "NaN"."""

    def value_of(value: Any, kind: str) -> Any:
        if value is None:
            return None
        if kind.startswith("array"):
            return [value_of(each, kind.rpartition(" of ")[2]) for each in value]
        if kind.startswith("`"):
            return from_json(kind.strip("`"), value)
        match kind.split()[0]:
            case "bin":
                return bytes.fromhex(value)
            case "float":
                return float(value)
        return value

    read_fields = {name: value_of(meaning[name], kind) for name, kind, _ in fields(part)}
    return {"message": part, **read_fields} if "message" in meaning else read_fields


def as_json(value: Any) -> Any:
    """A meaning as the vectors write it in JSON: the way back of `from_json`."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity"
    return value.hex() if isinstance(value, bytes) else value
