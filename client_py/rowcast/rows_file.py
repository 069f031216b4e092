"""The codec of .rows files: a picture's ids and recipe in a few hundred bytes.

The format is in protocol.md, section 9. Knows nothing of pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from .errors import ProtocolError, ReplayError
from .messages import Unsigned8, done_reason, without_trailing_defaults
from .picture import SAMPLING, Picture, Recipe, Sampling, check_picture
from .whole_files import whole_file

MAGIC: Final = b"ROWS"
VERSION: Final = 1
NOT_ENDED: Final = 255
MAX_BYTES: Final = 65_536 + 64 * 64 * 4


def _wire_fields(record: type) -> Iterator[tuple[str, Any] | tuple[str, Any, Any]]:
    """Names, types and defaults of a dataclass's fields; those of one inside it stand in its
    place."""
    hints = get_type_hints(record, include_extras=True)
    for each in fields(record):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _wire_fields(hint)
        else:
            yield (each.name, hint, *(() if each.default is MISSING else (each.default,)))


# An array of the recipe's fields, then how the picture ended (a reason, or NOT_ENDED) and its ids;
# last what has a default: it was added later, and may be left out.
_Record = msgspec.defstruct(
    "_Record",
    sorted(
        [*_wire_fields(Recipe), ("reason", Unsigned8), ("ids", bytes)],
        key=lambda field: len(field) > 2,  # (name, type), then (name, type, default)
    ),
    array_like=True,
    frozen=True,
)
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_Record)


def encode_picture(picture: Picture) -> bytes:
    """A picture, whole or as far as it came, as the bytes of a .rows file."""
    recipe = asdict(picture.recipe)
    record = _Record(
        **recipe.pop("sampling"),
        **recipe,
        reason=NOT_ENDED if picture.reason is None else int(picture.reason),
        ids=picture.held_bytes,
    )
    body = MAGIC + bytes([VERSION]) + msgspec.msgpack.encode(without_trailing_defaults(record))
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_picture(data: bytes) -> Picture:
    """The inverse of `encode_picture`. Raises ReplayError, saying what is wrong."""
    if len(data) > MAX_BYTES:
        raise ReplayError(f"{len(data)} bytes are too many for a .rows file")
    if data[:4] != MAGIC:
        raise ReplayError("not a .rows file")
    if len(data) < 10:
        raise ReplayError("the file is cut short")
    if data[4] != VERSION:
        raise ReplayError(f"version {data[4]} of the format; this program reads {VERSION}")
    body, checksum = data[:-4], int.from_bytes(data[-4:], "little")
    if zlib.crc32(body) != checksum:
        raise ReplayError("the checksum is wrong: the file is damaged or cut short")
    try:
        record = _decoder.decode(body[5:])
        sampling = Sampling(**{name: getattr(record, name) for name in SAMPLING})
        others = [each.name for each in fields(Recipe) if each.name != "sampling"]
        recipe = Recipe(sampling=sampling, **{name: getattr(record, name) for name in others})
        picture = Picture(recipe)
        if record.ids:
            picture.add_rows(0, record.ids)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        ProtocolError,
    ) as error:
        raise ReplayError(f"the file does not follow the format: {error}") from error
    if record.reason != NOT_ENDED:
        picture.reason = done_reason(record.reason)
    return picture


def save_rows(picture: Picture, path: Path | str) -> None:
    """Write a .rows file, whole or not at all. Raises OSError, naming it, or InvalidRequest."""
    check_picture(picture)
    with whole_file(Path(path)) as partial:
        partial.write_bytes(encode_picture(picture))


def load_rows(path: Path | str) -> Picture:
    """Read a .rows file. Raises ReplayError, OSError."""
    with Path(path).open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    try:
        return decode_picture(data)
    except ReplayError as error:
        raise ReplayError(f"{path}: {error}") from error
