"""The codec: a frame is a message, is ignored, or is malformed, as the document says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec
from rowcast.errors import MalformedFrame
from rowcast.messages import Message, decode_client, decode_server, encode

from tests import document
from tests.fuzz.messagepack import depth, mutate
from tests.fuzz.mutation import below
from tests.fuzz.target import Target, told

FRAMES: Final = document.ROOT / "tests" / "vectors" / "frames.json"
MOST_DEPTH: Final = 16  # what a receiver must take
# Extensions of type -1, whatever their length: also such as no timestamp has.
TIMESTAMP: Final = re.compile(rb"[\xd4-\xd8]\xff|\xc7.\xff|\xc8..\xff|\xc9....\xff", re.DOTALL)
MOST_SEED_BYTES: Final = 1_100  # beyond, an input is long rather than telling
DECODERS: Final[dict[str, Callable[[bytes], Message | None]]] = {
    "client": decode_client,
    "server": decode_server,
}


def seeds(*sides: str) -> list[bytes]:
    """The frames of the vectors, of those sides."""
    frames = json.loads(FRAMES.read_text("utf-8"))["frames"]
    datas = [bytes.fromhex(each["hex"]) for each in frames if each["from"] in sides]
    return [data for data in datas if len(data) <= MOST_SEED_BYTES]


def decoded(side: str, data: bytes) -> str:
    """What the codec makes of a frame. What it reads, it writes and reads again as the same."""
    try:
        message = DECODERS[side](data)
    except MalformedFrame as error:
        return told(error) if len(data) < 400 else "malformed, and long"
    if message is None:
        return "ignored"
    written = encode(message)
    again = DECODERS[side](written) if len(written) <= 4_096 else message
    if again != message and repr(again) != repr(message):  # NaN is not itself
        raise AssertionError(f"{message} is written as {written.hex()}, read as {again}")
    return type(message).__name__


# The codec and the document


def agreed(data: bytes) -> str:
    """The first byte chooses the side; a frame follows. Codec and document take it alike."""
    side, frame = ("client", "server")[data[0] & 1] if data else "client", data[1:]
    try:
        theirs: Any = document.decode_frame(side, frame)
    except (document.Refused, RecursionError) as error:
        theirs = error
    try:
        ours: Any = DECODERS[side](frame)
    except MalformedFrame as error:
        ours = error
    refused = isinstance(ours, Exception), isinstance(theirs, Exception)
    if all(refused):
        return told(ours) if len(frame) < 400 else "refused, and long"
    if any(refused):
        rule = differs_by_rule(frame, theirs)
        if rule is None:
            raise AssertionError(
                f"{side} {frame.hex()}: the codec {ours!r}, the document {theirs!r}"
            )
        return rule
    if not says(ours, theirs):
        raise AssertionError(f"{side} {frame.hex()}: {ours!r} is not {theirs!r}")
    return type(ours).__name__


def differs_by_rule(frame: bytes, theirs: Any) -> str | None:
    """The rule that lets one take and the other refuse it, None if there is none."""
    if depth(frame) > MOST_DEPTH:
        return "R-12"
    if isinstance(theirs, document.Refused) and TIMESTAMP.search(frame):
        return "R-91"  # `msgpack` reads timestamps even where they are ignored
    return None


def says(ours: Any, theirs: Any) -> bool:
    """True if a message of the codec, or a part of one, is what the document's decoder gives."""
    if isinstance(ours, msgspec.Struct):
        named = {name: getattr(ours, name) for name in ours.__struct_fields__}
        message = theirs.get("message", "").lower()
        return (not message or message == type(ours).__name__.lower()) and all(
            says(value, theirs[name]) for name, value in named.items()
        )
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(says, ours, theirs))
    if isinstance(ours, float):
        return ours == float(theirs) or (math.isnan(ours) and math.isnan(theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


def _seeds_of_both() -> list[bytes]:
    return [
        bytes([number]) + data
        for number, side in enumerate(DECODERS)
        for data in seeds(side)
        if len(data) < 400
    ]


def _mutate_of_both(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    side = data[:1] if random.random() < 0.95 else bytes([below(random, 2)])
    return side + mutate(random, data[1:], [others[below(random, len(others))][1:]])


TARGETS: Final = {
    **{
        f"decode_{side}": Target(
            partial(decoded, side), partial(seeds, side), mutate, 65_600, engine="plain"
        )
        for side in DECODERS
    },
    "agreement": Target(agreed, _seeds_of_both, _mutate_of_both),
}
