"""Changes to MessagePack that keep most of it well-formed: types, widths, lengths, elements.

Blind bytes rarely get past the first check of a decoder. Here an element becomes another, keeps its
value in another width, says another length than it has, comes twice, goes, or moves in from
another input; and the array around it is told, or is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Final, NamedTuple

import msgpack

from .mutation import below, blind

MOST_ELEMENTS: Final = 40  # of an input that are looked at
INT, STR, BIN, ARRAY, MAP, OTHER = "int", "str", "bin", "array", "map", "other"


class Element(NamedTuple):
    """A value in an input: its head is start … body, all of it start … end."""

    kind: str
    size: int  # of bytes, elements or pairs; of an int its value
    start: int
    body: int
    end: int
    parent: int  # its place in the list of elements, -1 for the outermost


def _form(code: int) -> tuple[str, int, int, int]:
    """Of a first byte: the kind, the bytes of a length or number behind it, the length or number
    in it, and bytes of content besides."""
    if code < 0x80 or code >= 0xE0:
        return INT, 0, code if code < 0x80 else code - 256, 0
    if code < 0xC0:
        kind, low, mask = (
            (MAP, 0x80, 15)
            if code < 0x90
            else (ARRAY, 0x90, 15)
            if code < 0xA0
            else (STR, 0xA0, 31)
        )
        return kind, 0, (code - low) & mask, 0
    sized = {0xC4: BIN, 0xD9: STR, 0xDC: ARRAY, 0xDE: MAP, 0xC7: OTHER}
    for first, kind in sized.items():
        widths = (1, 2, 4) if kind in (BIN, STR, OTHER) else (2, 4)
        if first <= code < first + len(widths):
            return kind, widths[code - first], 0, int(kind == OTHER)
    if 0xCC <= code <= 0xD3:
        return INT, 1 << (code & 3), 0, 0
    return OTHER, 0, 0, {0xCA: 4, 0xCB: 8}.get(code, 1 + (1 << code - 0xD4) if code > 0xD3 else 0)


FORMS: Final = tuple(_form(code) for code in range(256))


@lru_cache(maxsize=2_048)
def elements(data: bytes, most: int = MOST_ELEMENTS) -> list[Element]:
    """The first elements of an input, as far as they can be read."""
    found: list[Element] = []
    open_: list[list[int]] = []  # containers: place in `found`, values to come
    at = 0
    while at < len(data) and len(found) < most:
        kind, width, count, more = FORMS[data[at]]
        body = at + 1 + width
        if width:
            count = int.from_bytes(data[at + 1 : body], signed=0xD0 <= data[at] <= 0xD3)
        parent = open_[-1][0] if open_ else -1
        holds = kind in (ARRAY, MAP)
        end = body if holds or kind == INT else body + more + (0 if kind == INT else count)
        found.append(Element(kind, count, at, body, min(end, len(data)), parent))
        at = end
        if open_:
            open_[-1][1] -= 1
        if holds:
            open_.append([len(found) - 1, count * (1 + (kind == MAP))])
        while open_ and open_[-1][1] <= 0:
            _close(found, open_.pop()[0], min(at, len(data)))
        if not open_:
            break
    for place, _ in open_:  # cut short, or more than is looked at
        _close(found, place, len(data))
    return found


def _close(found: list[Element], place: int, end: int) -> None:
    kind, count, start, body, _, parent = found[place]
    found[place] = Element(kind, count, start, body, end, parent)


def depth(data: bytes) -> int:
    """How deep arrays and maps lie in each other."""
    depths: list[int] = []
    for each in elements(data, len(data)):
        outside = depths[each.parent] if each.parent >= 0 else 0
        depths.append(outside + (each.kind in (ARRAY, MAP)))
    return max(depths, default=0)


HEADS: Final = {  # the first bytes of each kind by width of the length; 0: within the byte
    STR: ((0, 0xA0, 31), (1, 0xD9, 255), (2, 0xDA, 65_535), (4, 0xDB, 2**32 - 1)),
    BIN: ((1, 0xC4, 255), (2, 0xC5, 65_535), (4, 0xC6, 2**32 - 1)),
    ARRAY: ((0, 0x90, 15), (2, 0xDC, 65_535), (4, 0xDD, 2**32 - 1)),
    MAP: ((0, 0x80, 15), (2, 0xDE, 65_535), (4, 0xDF, 2**32 - 1)),
}


def head(kind: str, count: int, wider: int = 0) -> bytes:
    """The first bytes of a text, byte string, array or map; ``wider`` than need be."""
    count = max(0, min(count, 2**32 - 1))
    fitting = [form for form in HEADS[kind] if count <= form[2]]
    width, code, _ = fitting[min(wider, len(fitting) - 1)]
    return bytes([code]) + count.to_bytes(width) if width else bytes([code + count])


def integer(value: int, wider: int = 0) -> bytes:
    """An int; ``wider`` than need be."""
    forms = [(1 << power, 0xCC + power, False) for power in range(4)]
    forms += [(1 << power, 0xD0 + power, True) for power in range(4)]
    fitting: list[bytes] = [bytes([value & 255])] if -32 <= value < 128 else []
    for width, code, signed in forms:
        low, high = (-(1 << 8 * width - 1), 1 << 8 * width - 1) if signed else (0, 1 << 8 * width)
        if low <= value < high:
            fitting.append(bytes([code]) + value.to_bytes(width, signed=signed))
    return fitting[min(wider, len(fitting) - 1)] if fitting else b"\xcf" + b"\xff" * 8


_EDGES = (2, 4, 7, 8, 15, 16, 24, 31, 32, 53, 63, 64)
INTS: Final = sorted(
    {sign * (1 << power) + step for power in _EDGES for sign in (1, -1) for step in (-1, 0, 1)}
    | {0, 9, 10, 11, 12, 13, 14, 40, 64, 65, 100, 256, 1_000, 65_535, 65_536, 1_048_576}
)
VALUES: Final[tuple[bytes, ...]] = (
    *(integer(value) for value in INTS if -(2**63) <= value < 2**64),
    *(msgpack.packb(value) for value in (None, True, False, 0.0, -0.0, 1.0, 0.5, 1e300, 7.5)),
    *(msgpack.packb(float(word)) for word in ("nan", "inf", "-inf")),
    b"\xca\x3f\x80\x00\x00",
    b"\xca\x7f\xc0\x00\x01",
    *(msgpack.packb("x" * count) for count in (0, 1, 16, 31, 32, 33, 64, 65, 128, 129, 256, 257)),
    *(msgpack.packb(bytes(count)) for count in (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64)),
    *(msgpack.packb(text) for text in ("tiny", "\N{HIGH VOLTAGE SIGN}", "e\u0301", "\x00", "full")),
    b"\xa1\xff",
    b"\xa2\xc0\x80",
    b"\xa3\xed\xa0\x80",
    b"\xa4\xf4\x90\x80\x80",
    b"\x90",
    b"\x91\xc0",
    b"\x92\x00\x00",
    b"\x93\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x00\x01",
    b"\x80",
    b"\x81\xa1x\x00",
    b"\x81\x90\x80",
    b"\x82\xc0\x01\xc0\x02",
    b"\xd4\x05\x00",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xd7\xff" + b"\xff" * 8,
    b"\xc7\x00\x07",
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xc1",
)


def _replaced(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    return data[: at.start] + VALUES[below(random, len(VALUES))] + data[at.end :]


def _widened(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    """The same value in another width; a text as a byte string, an int as a float."""
    if at.kind == INT:
        value = integer(at.size, below(random, 5))
        if random.random() < 0.2:
            value = b"\xcb" + struct.pack(">d", at.size)
        return data[: at.start] + value + data[at.end :]
    if at.kind in HEADS:
        kind = at.kind
        if kind in (STR, BIN) and random.random() < 0.3:
            kind = BIN if kind == STR else STR
        return data[: at.start] + head(kind, at.size, below(random, 4)) + data[at.body :]
    return _replaced(random, data, at, others)


def _resized(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    """Another number, or a length that is said and not there; of a text or bytes perhaps there."""
    step = (1, -1, 2, -2, 16, 256, 65_536, 2**31)[below(random, 8)]
    if at.kind == INT:
        return data[: at.start] + integer(at.size + step) + data[at.end :]
    if at.kind not in HEADS:
        return _replaced(random, data, at, others)
    if at.kind in (STR, BIN) and random.random() < 0.6:
        content = data[at.body : at.end]
        content = content[:step] if step < 0 else content + b"x" * min(step, 256)
        return data[: at.start] + head(at.kind, len(content)) + content + data[at.end :]
    return data[: at.start] + head(at.kind, at.size + step) + data[at.body :]


def _inside(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    """A byte of the content, or of the head."""
    place = min(len(data) - 1, at.start + below(random, at.end - at.start))
    return data[:place] + bytes([below(random, 256)]) + data[place + 1 :]


def _told(random: Random, data: bytes, at: Element, place: int, value: bytes, step: int) -> bytes:
    """``value`` put in at ``place``, or the element at it left out; its array is told, mostly."""
    changed = data[:place] + value + data[at.end if step < 0 else place :]
    holder = elements(data)[at.parent] if at.parent >= 0 else at
    if holder.kind != ARRAY or holder is at or random.random() < 0.1:
        return changed
    return changed[: holder.start] + head(ARRAY, holder.size + step) + changed[holder.body :]


def _doubled(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    return _told(random, data, at, at.end, data[at.start : at.end], 1)


def _added(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    place = at.start if random.random() < 0.5 else at.end
    return _told(random, data, at, place, VALUES[below(random, len(VALUES))], 1)


def _dropped(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    return _told(random, data, at, at.start, b"", -1)


def _taken(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    """An element of another input in this one's place."""
    other = others[below(random, len(others))]
    donors = elements(other)
    if not donors:
        return data
    donor = donors[below(random, len(donors))]
    return data[: at.start] + other[donor.start : donor.end] + data[at.end :]


def _wrapped(random: Random, data: bytes, at: Element, others: Sequence[bytes]) -> bytes:
    deep = (b"\x91", b"\x92", b"\x81\x00", b"\x91" * 14, b"\x91" * 15, b"\x91" * 16, b"\x91" * 500)
    return data[: at.start] + deep[below(random, len(deep))] + data[at.start :]


CHANGES: Final[
    tuple[Callable[[Random, bytes, Element, Sequence[bytes]], bytes], ...]
] = (
    _replaced, _widened, _resized, _inside, _doubled, _added, _dropped, _taken, _widened, _wrapped,
)  # fmt: skip


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mostly one change, at times two or three; one in sixteen is blind."""
    changes = 1
    while changes:
        changes -= random.random() < 0.8
        found = elements(data)
        place = below(random, len(found))
        if place < 2 and random.random() < 0.7:  # the frame and its tag: mostly what is in it
            place = below(random, len(found))
        if not found or random.random() < 1 / 16:
            data = blind(random, data, others)
        else:
            change = CHANGES[below(random, len(CHANGES))]
            data = change(random, data, found[place], others)
    return data
