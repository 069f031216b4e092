"""The codec: golden frames, round trips, and what hostile frames cost.

Each golden frame is read and written by the codec and by a second decoder, made of protocol.md's
tables and `msgpack` (tests/document.py), so neither can be wrong alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import inspect
from rowcast import messages
from rowcast.errors import InvalidRequest, MalformedFrame
from rowcast.messages import decode_client, decode_server, encode

from tests import document

VECTORS = document.ROOT / "tests" / "vectors" / "frames.json"
FRAMES: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))["frames"]
VALID = [frame for frame in FRAMES if frame["valid"]]
MEANT = [frame for frame in VALID if frame["meaning"] is not None]
CLIENT_KINDS = get_args(messages.ClientMessage)
SERVER_KINDS = get_args(messages.ServerMessage)
KINDS = {kind.__name__.lower(): kind for kind in (*CLIENT_KINDS, *SERVER_KINDS)}
EXT_BYTES = frozenset(b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8")

quickly = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def name_of(frame: dict[str, Any]) -> str:
    return str(frame["name"])


def decoder_of(side: str) -> Callable[[bytes], messages.Message | None]:
    return decode_client if side == "client" else decode_server


def fields_of(value: Any) -> Any:
    """A message of the codec as the document's decoder gives it."""
    if isinstance(value, msgspec.Struct):
        named = {name: fields_of(getattr(value, name)) for name in value.__struct_fields__}
        kind = type(value).__name__.lower()
        return {"message": kind, **named} if kind in KINDS else named
    return [fields_of(item) for item in value] if isinstance(value, list | tuple) else value


def same(left: Any, right: Any) -> bool:
    """Equal, where a NaN equals a NaN, and 1 and 1.0 are one number."""
    return repr(widened(left)) == repr(widened(right))


def widened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: widened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [widened(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Golden frames


def test_there_are_enough_golden_frames() -> None:
    assert len(FRAMES) >= 60
    assert {frame["meaning"]["message"] for frame in MEANT} == set(KINDS)
    assert len({frame["name"] for frame in FRAMES}) == len(FRAMES)


@pytest.mark.parametrize("frame", FRAMES, ids=name_of)
def test_golden_frames_say_what_they_mean(frame: dict[str, Any]) -> None:
    decode, data = decoder_of(frame["from"]), bytes.fromhex(frame["hex"])
    if not frame["valid"]:
        # Python 3.11 bounds nesting by itself, 3.13 goes deeper: R-12 allows both.
        may_pass = frame.get("needs") == "bounded-nesting" and sys.version_info >= (3, 12)
        with contextlib.suppress(MalformedFrame) if may_pass else pytest.raises(MalformedFrame):
            decode(data)
        with pytest.raises(document.Refused):
            document.decode_frame(frame["from"], data)
    elif frame["meaning"] is None:
        assert decode(data) is None
        assert document.decode_frame(frame["from"], data) is None
    else:
        meaning = document.from_json(frame["meaning"]["message"], frame["meaning"])
        assert same(fields_of(decode(data)), meaning)
        assert same(document.decode_frame(frame["from"], data), meaning)


@pytest.mark.parametrize("frame", [f for f in VALID if f["canonical"]], ids=name_of)
def test_canonical_frames_are_written_to_the_same_bytes(frame: dict[str, Any]) -> None:
    meaning = document.from_json(frame["meaning"]["message"], frame["meaning"])
    message = decoder_of(frame["from"])(bytes.fromhex(frame["hex"]))
    assert message is not None
    assert encode(message).hex() == frame["hex"]
    assert encode(built(meaning)).hex() == frame["hex"]
    array = document.elements(meaning["message"], meaning)
    assert msgpack.packb(array).hex() == frame["hex"]


def built(meaning: dict[str, Any]) -> messages.Message:
    """The codec's message from a meaning, field by field."""
    kind = KINDS[meaning["message"]]
    fields = {name: value for name, value in meaning.items() if name != "message"}
    array = [kind.__struct_config__.tag, *map(listed, fields.values())]
    message: messages.Message = msgspec.convert(array, kind)
    return message


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return [listed(item) for item in value.values()]
    return [listed(item) for item in value] if isinstance(value, list) else value


# Any message, any bytes


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values that a field of the codec may have."""
    match kind:
        case inspect.IntType(ge=ge, le=le):
            return st.integers(ge, le)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.FloatType():
            return st.floats(allow_nan=False)
        case inspect.StrType(min_length=low, max_length=high):
            letters = st.characters(exclude_categories=["Cs"])
            return st.text(letters, min_size=low or 0, max_size=min(high or 40, 40))
        case inspect.BytesType(min_length=low, max_length=high):
            return st.binary(min_size=low or 0, max_size=high if low == high else 80)
        case inspect.ListType(item_type=item, min_length=low):
            return st.lists(values_of(item), min_size=low or 0, max_size=2)
        case inspect.VarTupleType(item_type=item):
            return st.lists(values_of(item), max_size=2).map(tuple)
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values_of(field.type) for field in fields})
        case inspect.UnionType(types=types):
            return st.one_of([values_of(each) for each in types])
        case inspect.NoneType():
            return st.none()
    raise AssertionError(kind)


messages_of_clients = st.one_of([values_of(inspect.type_info(kind)) for kind in CLIENT_KINDS])
messages_of_servers = st.one_of([values_of(inspect.type_info(kind)) for kind in SERVER_KINDS])


@quickly
@given(messages_of_clients)
def test_every_client_message_survives_the_wire(message: messages.ClientMessage) -> None:
    assert decode_client(encode(message)) == message


@quickly
@given(messages_of_servers)
def test_every_server_message_survives_the_wire(message: messages.ServerMessage) -> None:
    assert decode_server(encode(message)) == message


@quickly
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_malformed(data: bytes) -> None:
    for decode in (decode_client, decode_server):
        with contextlib.suppress(MalformedFrame):
            decode(data)


@quickly
@given(
    st.sampled_from([frame for frame in FRAMES if len(frame["hex"]) < 400]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
    st.integers(0, 200),
    st.binary(max_size=3),
)
def test_damaged_frames_are_taken_or_refused_as_the_document_says(
    frame: dict[str, Any], changes: list[tuple[int, int]], end: int, tail: bytes
) -> None:
    damaged = bytearray(bytes.fromhex(frame["hex"])[: end or None] + tail)
    for position, byte in changes:
        if position < len(damaged):
            damaged[position] = byte
    assume(not EXT_BYTES & set(damaged))  # `msgpack` reads timestamps even where they are ignored
    try:
        expected = document.decode_frame(frame["from"], bytes(damaged))
    except document.Refused:
        with pytest.raises(MalformedFrame):
            decoder_of(frame["from"])(bytes(damaged))
    else:
        message = decoder_of(frame["from"])(bytes(damaged))
        assert same(fields_of(message), expected)


# What hostile frames cost

LIMITS = msgpack.packb([4_096, 1_024, 16, 64, 0, 0])
HOSTILE = {
    "array": b"\xdd\xff\xff\xff\xff\x21" + bytes(4_000),
    "array-of-65536": b"\xdd\x00\x01\x00\x00\x21" + bytes(65_535),
    "optional-array": b"\x92\x21\xdd\x00\xff\xff\xff" + b"\x90" * 4_000,
    "optional-text": b"\x92\x21\xdb\xff\xff\xff\xff",
    "nested": b"\x92\x21" + b"\x91" * 4_000 + b"\x90",
    "nested-wide": b"\x92\x21" + b"\xdd\x00\x00\xff\xff" * 800,
    "models": b"\x93\x01" + LIMITS + b"\xdd\xff\xff\xff\xff" + b"\x99" * 60_000,
    "ids": b"\x94\x04\x00\x00\xc6\xff\xff\xff\xff" + bytes(4_000),
    "error-text": b"\x95\x06\x00\xdb\xff\xff\xff\xff" + b"x" * 4_000,
    "prompt": b"\x95\x02\x00\xc4\x10" + bytes(16) + b"\xdb\xff\xff\xff\xff" + b"x" * 4_000,
    "sha": b"\x93\x01" + LIMITS + b"\x91\x99\xa1m\xc4\x08" + bytes(8) + b"\xc6\xff\xff\xff\xff",
    "extra-map": b"\x94\x00\xc0\xa1x\xdf\xff\xff\xff\xff" + b"\xa1x\x00" * 1_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_frames_cost_less_than_a_mebibyte(data: bytes) -> None:
    for decode in (lambda frame: decode_client(frame, 1_048_576), decode_server):
        tracemalloc.start()
        try:
            with contextlib.suppress(MalformedFrame):  # the complete ones are ignored, not refused
                decode(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 1_048_576


# Sizes


def test_frames_longer_than_the_limit_are_refused() -> None:
    start = encode(messages.Start(0, bytes(16), "x" * 5_000, 1))
    with pytest.raises(MalformedFrame, match="at most 4096"):
        decode_client(start)
    assert decode_client(start, 8_192) is not None
    rows = messages.Rows(0, 0, bytes(16_376))
    assert len(encode(rows)) == messages.MAX_SERVER_FRAME_BYTES - 1
    assert decode_server(encode(rows)) == rows
    with pytest.raises(MalformedFrame, match="at most 16384"):
        decode_server(encode(messages.Rows(0, 0, bytes(16_378))))


def test_only_welcome_may_be_longer_than_other_server_frames() -> None:
    ranges = messages.SamplingRanges(*[messages.Range(1, 0, 2)] * 4)
    file = messages.DetokenizerFile("full", "float32", 1, bytes(32), "u" * 1_024)

    def welcome(files: int, models: int) -> messages.Welcome:
        model = messages.Model("m", bytes(8), 4, 4, 16, 4, 2, ranges, [file] * files)
        return messages.Welcome(messages.Limits(4_096, 1, 1, 1, 0, 0), [model] * models)

    assert len(encode(welcome(29, 2))) > messages.MAX_SERVER_FRAME_BYTES
    assert decode_server(encode(welcome(29, 2))) == welcome(29, 2)
    with pytest.raises(MalformedFrame, match="at most 65536"):
        decode_server(encode(welcome(32, 2)))


def test_a_prefix_of_the_largest_grid_fits_a_frame_that_welcome_can_announce() -> None:
    side = messages.MAX_GRID_SIDE
    start = messages.Start(
        0, bytes(16), "x", 1, messages.Options(prefix=bytes((side - 1) * side * 4))
    )
    assert decode_client(encode(start), 20_480) == start


def test_a_row_of_sixteen_ids_takes_38_bytes() -> None:
    assert len(encode(messages.Rows(127, 15, bytes(32)))) == 38


# The rest of the module


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_side_takes_only_the_other_sides_messages(kind: type[msgspec.Struct]) -> None:
    frame = next(f for f in MEANT if f["meaning"]["message"] == kind.__name__.lower())
    data = bytes.fromhex(frame["hex"])
    for decode, kinds in ((decode_client, CLIENT_KINDS), (decode_server, SERVER_KINDS)):
        if kind in kinds:
            assert isinstance(decode(data), kind)
        else:
            with pytest.raises(MalformedFrame):
                decode(data)


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode(messages.Hello(None, "\ud83c"))


def test_view_key_is_not_the_key() -> None:
    key = bytes(range(16))
    assert messages.view_key(key).hex() == "28a8bd2fe1371aeda1f74be771dd0b93"
    assert messages.view_key(messages.view_key(key)) != messages.view_key(key)
    for other in ("text", b"short", None):
        with pytest.raises(InvalidRequest, match="key must be 16 bytes"):
            messages.view_key(other)  # type: ignore[arg-type]


def test_checksum_is_zlibs_and_nought_for_nothing() -> None:
    assert messages.ids_checksum(b"") == 0
    assert messages.ids_checksum(b"123456789") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC


@pytest.mark.parametrize(("size", "id_bytes"), [(1, 2), (65_536, 2), (65_537, 4), (2**31 - 1, 4)])
def test_ids_take_two_bytes_where_they_fit(size: int, id_bytes: int) -> None:
    assert messages.id_bytes_for(size) == id_bytes


def test_a_damaged_frame_of_a_known_optional_message_is_no_unknown_one() -> None:
    class Viewers(msgspec.Struct, array_like=True, frozen=True, tag=32):
        count: int

    decoder = msgspec.msgpack.Decoder(messages.Ping | Viewers)
    assert messages._decode(decoder, msgspec.msgpack.encode([32, 4]), 99) == Viewers(4)
    assert messages._decode(decoder, msgspec.msgpack.encode([33, "x"]), 99) is None
    for damaged in ([32, "x"], [32]):
        with pytest.raises(MalformedFrame):
            messages._decode(decoder, msgspec.msgpack.encode(damaged), 99)


def test_close_codes_from_4500_may_be_retried() -> None:
    retried = {code.value for code in messages.CloseCode if messages.may_reconnect(code)}
    assert retried == {1001, 1012, 1013, 4501, 4508, 4529}
