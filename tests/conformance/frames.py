"""Frames of rowcast.v1: a codec made of tables, which are those of protocol.md section 4.

A frame that was read is a dict: its ``message``, and its fields by name. Errors name the rule that
a frame breaks.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, Final

import msgpack

MAX_SERVER_FRAME_BYTES: Final = 16_384
MAX_WELCOME_BYTES: Final = 65_536
MAX_HELLO_BYTES: Final = 2_048
MAX_CLIENT_FRAME_BYTES: Final = 4_096
FIRST_OPTIONAL_TAG: Final = 32
SUBPROTOCOL: Final = "rowcast.v1"

CLIENT, SERVER = "client", "server"
# tag: name, and who sends it.
TAGS: Final = {
    0: ("hello", (CLIENT,)),
    1: ("welcome", (SERVER,)),
    2: ("start", (CLIENT,)),
    3: ("accepted", (SERVER,)),
    4: ("rows", (SERVER,)),
    5: ("done", (SERVER,)),
    6: ("error", (SERVER,)),
    7: ("cancel", (CLIENT,)),
    8: ("watch", (CLIENT,)),
    9: ("ping", (CLIENT, SERVER)),
    10: ("pong", (CLIENT, SERVER)),
    12: ("goaway", (SERVER,)),
    13: ("queued", (SERVER,)),
}
NUMBERS: Final = {name: tag for tag, (name, _) in TAGS.items()}
STREAM, COUNT = "int 0…65535", "int 0…4294967295"
# Each field: name, type, and what it is where it was left out at the end (absent: it may not be).
Fields = list[tuple[str, str] | tuple[str, str, Any]]
TABLES: Final[dict[str, Fields]] = {
    "hello": [("token", "str 0…1024 or nil"), ("client", "str 0…128")],
    "welcome": [("limits", "`limits`"), ("models", "array 1…64 of `model`")],
    "limits": [
        ("client_frame_bytes", "int 4096…1048576"),
        ("prompt_bytes", "int 1…1048576"),
        ("images", "int 1…4096"),
        ("streams", "int 1…65536"),
        ("grace_ms", COUNT),
        ("keep_ms", COUNT),
    ],
    "model": [
        ("name", "str 1…64"),
        ("revision", "bin 8"),
        ("rows", "int 1…64"),
        ("cols", "int 1…64"),
        ("pixels_per_token", "int 1…64"),
        ("codebook_size", "int 1…2147483647"),
        ("id_bytes", "int 2 or 4"),
        ("sampling", "`sampling`"),
        ("files", "array 0…32 of `file`"),
        ("description", "str 0…512", ""),
        ("examples", "array 0…16 of str 1…256", []),
    ],
    "sampling": [
        ("temperature", "`range`"),
        ("top_k", "`range`"),
        ("top_p", "`range`"),
        ("guidance", "`range`"),
        ("min_p", "`range`", {"default": 0.0, "low": 0.0, "high": 0.0}),
    ],
    "range": [("default", "float"), ("low", "float"), ("high", "float")],
    "file": [
        ("kind", "str 1…32"),
        ("precision", "str 1…16"),
        ("bytes", "int 0…9007199254740991"),
        ("sha256", "bin 32"),
        ("url", "str 1…1024"),
    ],
    "start": [
        ("stream", STREAM),
        ("key", "bin 16"),
        ("prompt", "str"),
        ("images", "int"),
        ("options", "`options`", {}),
    ],
    "options": [
        ("model", "str 1…64 or nil", None),
        ("seed", "int or nil", None),
        ("first_image", STREAM, 0),
        ("temperature", "float or nil", None),
        ("top_k", "int or nil", None),
        ("top_p", "float or nil", None),
        ("guidance", "float or nil", None),
        ("stop_row", "int or nil", None),
        ("prefix", "bin or nil", None),
        ("revision", "bin 8 or nil", None),
        ("min_p", "float or nil", None),
    ],
    "accepted": [
        ("stream", STREAM),
        ("image", STREAM),
        ("model", "str 1…64"),
        ("revision", "bin 8"),
        ("seed", COUNT),
        ("rows", "int 1…64"),
        ("cols", "int 1…64"),
        ("id_bytes", "int 2 or 4"),
        ("first_row", "int 0…64"),
        ("position", COUNT),
        ("text_cut", STREAM, 0),
        ("text_lost", STREAM, 0),
    ],
    "queued": [("stream", STREAM), ("position", COUNT)],
    "rows": [("stream", STREAM), ("first_row", "int 0…64"), ("ids", "bin 2…16384")],
    "done": [
        ("stream", STREAM),
        ("rows", "int 0…64"),
        ("crc32", COUNT),
        ("milliseconds", COUNT),
        ("reason", "int 0…255"),
    ],
    "watch": [
        ("stream", STREAM),
        ("view_key", "bin 16"),
        ("image", STREAM),
        ("rows_held", "int 0…64"),
        ("crc32", COUNT),
    ],
    "cancel": [("stream", STREAM)],
    "ping": [("echo", COUNT)],
    "pong": [("echo", COUNT)],
    "goaway": [("milliseconds", COUNT)],
    "error": [
        ("stream", "int 0…65535 or nil"),
        ("code", "str 1…32"),
        ("retry_ms", COUNT),
        ("text", "str 0…1024"),
    ],
}
PYTHON: Final[dict[str, Any]] = {
    "int": int,
    "float": int | float,
    "str": str,
    "bin": bytes,
    "array": list,
}


class Broken(Exception):
    """A rule was broken by the other side; ``rule`` is its number, as ``R-11``."""

    def __init__(self, rule: str, text: str) -> None:
        self.rule = rule
        super().__init__(text)


class Map(tuple[Any, ...]):
    """A MessagePack map; its keys need not be hashable."""


def read_frame(side: str, data: bytes | str) -> dict[str, Any] | None:
    """A frame of `client` or `server`; None if it is to be ignored (R-6). Raises Broken."""
    if isinstance(data, str):
        raise Broken("R-2", f"a text message: {data[:40]!r}")
    elements = _unpack(data)
    if not isinstance(elements, list) or not elements or type(elements[0]) is not int:
        raise Broken("R-3", f"no array that begins with a tag: {_shown(data)}")
    tag, *values = elements
    name, senders = TAGS.get(tag, ("", ()))
    if side in senders:
        return {"message": name, **_read_part(name, values)}
    if tag >= FIRST_OPTIONAL_TAG:
        return None
    raise Broken("R-5", f"tag {tag} from a {side}")


def write_frame(name: str, values: dict[str, Any], extra: list[Any] | None = None) -> bytes:
    """The frame of a message; fields at the end that are not in ``values`` are left out.

    Nothing is checked: a script may want a frame that is wrong.
    """
    packed: bytes = msgpack.packb([NUMBERS[name], *_elements(name, values), *(extra or [])])
    return packed


def view_key(key: bytes) -> bytes:
    """The key that only watches (R-31)."""
    return hashlib.sha256(b"rowcast view" + key).digest()[:16]


def crc32(ids: bytes) -> int:
    """The CRC-32 of ids as they are on the wire (R-24)."""
    return zlib.crc32(ids)


def _unpack(data: bytes) -> Any:
    """One MessagePack value and nothing after it. Raises Broken."""
    try:
        return msgpack.unpackb(
            data, object_pairs_hook=Map, strict_map_key=False, unicode_errors="surrogateescape"
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise Broken("R-3", f"no MessagePack ({error}): {_shown(data)}") from error


def _read_part(part: str, values: list[Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for position, (name, kind, *default) in enumerate(TABLES[part]):
        if position < len(values):
            read[name] = _read(f"{part}.{name}", values[position], kind)
        elif default:
            whole = kind == "`options`"
            read[name] = _read_part("options", []) if whole else default[0]
        else:
            raise Broken("R-11", f"{part} lacks {name}")
    return read


def _read(place: str, value: Any, kind: str) -> Any:
    if kind.endswith(" or nil"):
        return None if value is None else _read(place, value, kind.removesuffix(" or nil"))
    if kind.startswith("`"):
        if not isinstance(value, list):
            raise Broken("R-7", f"{place} is {value!r}, no array")
        return _read_part(kind.strip("`"), value)
    name, _, bounds = kind.partition(" ")
    bounds, _, item = bounds.partition(" of ")
    if not isinstance(value, PYTHON[name]) or isinstance(value, bool):
        raise Broken("R-7", f"{place} is {value!r}, not {kind}")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Broken("R-8", f"{place} is not UTF-8")
    measure = value if isinstance(value, int | float) else len(value)
    if " or " in bounds:
        inside = str(measure) in bounds.split(" or ")
    elif bounds:
        low, _, high = bounds.partition("…")
        inside = int(low) <= measure <= int(high or low)
    else:
        inside = name != "int" or -(2**63) <= measure < 2**63
    if not inside:
        raise Broken("R-11", f"{place} is {value!r}, not {kind}")
    return [_read(place, each, item) for each in value] if name == "array" else value


def _elements(part: str, values: dict[str, Any]) -> list[Any]:
    """The array of a part, up to its last field that ``values`` names."""
    fields = TABLES[part]
    named = [index for index, field in enumerate(fields) if field[0] in values]
    array = []
    for name, kind, *default in fields[: max(named, default=-1) + 1]:
        value = values[name] if name in values else default[0]
        item = kind.rpartition(" of ")[2]
        if item.startswith("`"):
            inner = item.strip("`")
            one = kind == item
            value = _elements(inner, value) if one else [_elements(inner, v) for v in value]
        array.append(value)
    return array


def _shown(data: bytes) -> str:
    return data[:24].hex(" ") + (" …" if len(data) > 24 else "")
