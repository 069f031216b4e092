"""Changes to an input that knows no structure: bytes, spans, and words of its language."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from .target import Mutate

INTERESTING: Final = b"\x00\x01\x7f\x80\xff \t\r\n%:,/.\"'"
FIELD: Final = re.compile(rb'"[^"]*"\s*:\s*(\[[^\]]*\]|[^,}\]]*)')
Change = Callable[[Random, bytes, Sequence[bytes]], bytes]


def below(random: Random, count: int) -> int:
    """0 … count - 1; five times as fast as `randrange`."""
    return int(random.random() * count)


def span(random: Random, data: bytes, most: int = 16) -> tuple[int, int]:
    """Where a part begins and ends."""
    start = below(random, len(data) + 1)
    return start, min(len(data), start + below(random, most))


def _flip(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = below(random, len(data))
    return data[:at] + bytes([data[at] ^ 1 << below(random, 8)]) + data[at + 1 :]


def _set(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at, byte = below(random, len(data)), INTERESTING[below(random, len(INTERESTING))]
    return data[:at] + bytes([byte]) + data[at + below(random, 2) :]


def _any(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = below(random, len(data))
    return data[:at] + bytes([below(random, 256)]) + data[at + below(random, 2) :]


def _cut(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = span(random, data)
    return data[:start] + data[end:]


def _end(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: below(random, len(data) + 1)]


def _repeat(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = span(random, data)
    return data[:end] + data[start:end] * (1 << below(random, 4)) + data[end:]


def _move(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    (start, end), at = span(random, data), below(random, len(data) + 1)
    return data[:at] + data[start:end] + data[at:]


def _cross(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = others[below(random, len(others))]
    return data[: below(random, len(data) + 1)] + other[below(random, len(other) + 1) :]


CHANGES: Final[tuple[Change, ...]] = (_flip, _set, _any, _cut, _end, _repeat, _move, _cross)


def blind(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One change of bytes."""
    return CHANGES[below(random, len(CHANGES))](random, data or b"\x00", others)


def worded(*words: bytes) -> Mutate:
    """Changes of bytes; words put in, in the place of others, or as the values of JSON's fields."""

    def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
        for _ in range(1 + below(random, 3)):
            way, word = random.random(), words[below(random, len(words))]
            if way < 0.4:
                data = blind(random, data, others)
            elif way < 0.7 and (found := list(FIELD.finditer(data))):
                field = found[below(random, len(found))]
                data = data[: field.start(1)] + word + data[field.end(1) :]
            else:
                start, end = span(random, data)
                data = data[:start] + word + data[end if random.random() < 0.3 else start :]
        return data

    return mutate
