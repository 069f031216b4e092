"""Frames of at most 4 KiB that ask for as much work as they can."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from rowcast.messages import MAX_CLIENT_FRAME_BYTES, Options, Start, encode
from rowcast_server.errors import CloseConnection

from tests.support.fakes import KEY, LIMITS
from tests.support.lines import Line


def _start(prompt: str, images: int = 1, **options: Any) -> bytes:
    return encode(Start(0, KEY, prompt, images, Options(**{"seed": 7, **options})))


def _filled(sign: str) -> str:
    return sign * (LIMITS.prompt_bytes // len(sign.encode()))


_MOST = MAX_CLIENT_FRAME_BYTES
FRAMES: dict[str, bytes] = {
    "letters": _start(_filled("a")),
    "words": _start(_filled("a ")),
    "emoji": _start(_filled("\N{THUNDER CLOUD AND RAIN}")),
    "joined emoji": _start(_filled("\N{MAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-6}\u200d")),
    "nothing readable": _start(_filled("\u6d77")),
    "a long prompt": _start("a" * 4_000),
    "a long prefix": _start("a red boat", prefix=bytes(3_900)),
    "a prefix of high ids": _start("a red boat", prefix=b"\xff" * 24),
    "the longest prefix": _start(_filled("a"), prefix=bytes(24)),
    "many images": _start("a red boat", images=255),
    "all images, refused": _start(_filled("\u6d77"), images=LIMITS.images),
    "nested arrays": b"\x91" * _MOST,
    "nested maps": b"\x81\xa0" * (_MOST // 2),
    "nested in an optional message": b"\x92\x28" + b"\x91" * (_MOST - 2),
    "empty arrays": b"\xdc\x0f\xfc\x28" + b"\x90" * (_MOST - 4),
    "empty maps": b"\xdc\x0f\xfc\x28" + b"\x80" * (_MOST - 4),
    "an array said to be long": b"\xdd\xff\xff\xff\xff" + b"\x00" * 99,
    "a text said to be long": b"\x92\x02\xdb\xff\xff\xff\xff" + b"a" * 99,
    "unknown tag": msgspec.msgpack.encode([31, "a" * 4_000]),
    "not UTF-8": b"\x92\x02\xda\x0f\x00" + b"\xff" * 3_840,
    "too long": b"\x91" * (_MOST + 1),
}


def answer(line: Line, frame: bytes) -> None:
    """Take a frame, and make the answers to it."""
    with suppress(CloseConnection):
        line.session.receive(frame)
    line.read()
