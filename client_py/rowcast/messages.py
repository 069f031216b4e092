"""The codec: every message of the wire `rowcast.v1`, its limits, encode and decode.

Both sides use this module, and it is the only one that knows the bytes; codes.py is a part of it.
It knows nothing of sockets, sessions or pictures. The rules it enforces are numbered in protocol.md
(R-…).

A frame is one msgpack array ``[tag, field, …]``. The codec checks shapes, types and the limits
that hold for every server; what depends on the server (is this model known, is this temperature
allowed) is the session's business, because it is answered by an ``error`` and not by a close.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from .codes import CloseCode as CloseCode
from .codes import DoneReason as DoneReason
from .codes import ErrorCode as ErrorCode
from .codes import done_reason as done_reason
from .codes import may_reconnect as may_reconnect
from .errors import InvalidRequest, MalformedFrame

SUBPROTOCOL: Final = "rowcast.v1"

# Every limit of the wire in one place. Characters are Unicode code points.
MAX_HELLO_BYTES: Final = 2_048
MAX_CLIENT_FRAME_BYTES: Final = 4_096  # `welcome` may announce more, for a `prefix`
MAX_SERVER_FRAME_BYTES: Final = 16_384
MAX_WELCOME_BYTES: Final = 65_536
MAX_TOKEN_CHARACTERS: Final = 1_024
MAX_CLIENT_NAME_CHARACTERS: Final = 128
MAX_ERROR_TEXT_CHARACTERS: Final = 1_024
MAX_DESCRIPTION_CHARACTERS: Final = 512
MAX_EXAMPLE_CHARACTERS: Final = 256
MAX_EXAMPLES: Final = 16
MAX_STREAM: Final = 65_535
MAX_SEED: Final = 2**32 - 1
MAX_GRID_SIDE: Final = 64
MAX_PALETTE_BYTES: Final = 1_048_576
KEY_BYTES: Final = 16
REVISION_BYTES: Final = 8
HELLO_TIMEOUT_SECONDS: Final = 3.0
FIRST_OPTIONAL_TAG: Final = 32

Unsigned8: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
Unsigned16: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Unsigned32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_GRID_SIDE)]
Row: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_GRID_SIDE)]
Stream: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_STREAM)]
Key: TypeAlias = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Revision: TypeAlias = Annotated[bytes, Meta(min_length=REVISION_BYTES, max_length=REVISION_BYTES)]
Digest: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Description: TypeAlias = Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARACTERS)]
Example: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_EXAMPLE_CHARACTERS)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Whole: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Range(Struct, array_like=True, frozen=True):
    """A sampling parameter's default and the inclusive range the server allows."""

    default: float
    low: float
    high: float


class SamplingRanges(Struct, array_like=True, frozen=True):
    """The range of each field of `picture.Sampling`."""

    temperature: Range
    top_k: Range
    top_p: Range
    guidance: Range
    min_p: Range = Range(0.0, 0.0, 0.0)  # a server that does not announce it does not know it


class DetokenizerFile(Struct, array_like=True, frozen=True):
    """A file that turns ids into pixels; ``url`` is absolute or relative to the server's page."""

    kind: Annotated[str, Meta(min_length=1, max_length=32)]
    precision: Annotated[str, Meta(min_length=1, max_length=16)]
    bytes: Count
    sha256: Digest
    url: Annotated[str, Meta(min_length=1, max_length=1_024)]


class Model(Struct, array_like=True, frozen=True):
    """A model that a server has. ``revision`` covers weights, vocabulary and sampler;
    ``description`` is a sentence on what it draws, ``examples`` are prompts that it can draw."""

    name: ModelName
    revision: Revision
    rows: Side
    cols: Side
    pixels_per_token: Annotated[int, Meta(ge=1, le=64)]
    codebook_size: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    id_bytes: Literal[2, 4]
    sampling: SamplingRanges
    files: Annotated[list[DetokenizerFile], Meta(max_length=32)]
    description: Description = ""
    examples: Annotated[tuple[Example, ...], Meta(max_length=MAX_EXAMPLES)] = ()


class Limits(Struct, array_like=True, frozen=True):
    """Limits of one server, announced in `welcome`. Times in milliseconds."""

    client_frame_bytes: Annotated[int, Meta(ge=MAX_CLIENT_FRAME_BYTES, le=1_048_576)]
    prompt_bytes: Annotated[int, Meta(ge=1, le=1_048_576)]
    images: Annotated[int, Meta(ge=1, le=4_096)]
    streams: Annotated[int, Meta(ge=1, le=MAX_STREAM + 1)]
    grace_ms: Unsigned32
    keep_ms: Unsigned32


class Options(Struct, array_like=True, frozen=True):
    """Options of `start`; nil, or left out at the end, means the server's default.

    ``first_image`` is never nil. ``prefix`` holds the ids of whole rows, little-endian, to
    continue from. ``revision``, when given, must be the model's: a picture is never drawn by two.
    """

    model: ModelName | None = None
    seed: Whole | None = None
    first_image: Unsigned16 = 0
    temperature: float | None = None
    top_k: Whole | None = None
    top_p: float | None = None
    guidance: float | None = None
    stop_row: Whole | None = None
    prefix: bytes | None = None
    revision: Revision | None = None
    min_p: float | None = None


class Hello(Struct, array_like=True, frozen=True, tag=0):
    """The first frame of a client."""

    token: Annotated[str, Meta(max_length=MAX_TOKEN_CHARACTERS)] | None
    client: Annotated[str, Meta(max_length=MAX_CLIENT_NAME_CHARACTERS)]

    def __repr__(self) -> str:
        return f"Hello(token={self.token and '***'!r}, client={self.client!r})"


class Welcome(Struct, array_like=True, frozen=True, tag=1):
    """The first frame of a server: its limits and its models, the default one first."""

    limits: Limits
    models: Annotated[list[Model], Meta(min_length=1, max_length=64)]


class Start(Struct, array_like=True, frozen=True, tag=2):
    """Draw ``images`` pictures of a prompt, on as many streams from ``stream`` on."""

    stream: Stream
    key: Key
    prompt: str
    images: Whole
    options: Options = Options()


class Accepted(Struct, array_like=True, frozen=True, tag=3):
    """A picture was taken: its recipe, the first row to come, its place in the queue."""

    stream: Stream
    image: Unsigned16
    model: ModelName
    revision: Revision
    seed: Unsigned32
    rows: Side
    cols: Side
    id_bytes: Literal[2, 4]
    first_row: Row
    position: Unsigned32
    text_cut: Unsigned16 = 0  # tokens; left out where it is 0, as the next is
    text_lost: Unsigned16 = 0  # characters


class Rows(Struct, array_like=True, frozen=True, tag=4):
    """Whole rows of ids, little-endian."""

    stream: Stream
    first_row: Row
    ids: Annotated[bytes, Meta(min_length=2, max_length=MAX_SERVER_FRAME_BYTES)]


class Done(Struct, array_like=True, frozen=True, tag=5):
    """The end of a picture of ``rows`` rows, with the checksum of all its ids."""

    stream: Stream
    rows: Row
    crc32: Unsigned32
    milliseconds: Unsigned32
    reason: Unsigned8


class Error(Struct, array_like=True, frozen=True, tag=6):
    """A refusal; stream None is about the connection. ``retry_ms`` 0: a retry is useless."""

    stream: Stream | None
    code: Annotated[str, Meta(min_length=1, max_length=32)]
    retry_ms: Unsigned32
    text: Annotated[str, Meta(max_length=MAX_ERROR_TEXT_CHARACTERS)]


class Cancel(Struct, array_like=True, frozen=True, tag=7):
    """End one's own picture, or leave one that is watched."""

    stream: Stream


class Watch(Struct, array_like=True, frozen=True, tag=8):
    """Attach to a picture by its view key, with the rows that are held of it."""

    stream: Stream
    view_key: Key
    image: Unsigned16
    rows_held: Row
    crc32: Unsigned32


class Ping(Struct, array_like=True, frozen=True, tag=9):
    """Ask for a `pong` with the same number."""

    echo: Unsigned32


class Pong(Struct, array_like=True, frozen=True, tag=10):
    """The answer to `ping`."""

    echo: Unsigned32


class GoAway(Struct, array_like=True, frozen=True, tag=12):
    """The server stops in so many milliseconds."""

    milliseconds: Unsigned32


class Queued(Struct, array_like=True, frozen=True, tag=13):
    """A picture's new place in the queue."""

    stream: Stream
    position: Unsigned32


ClientMessage: TypeAlias = Hello | Start | Cancel | Watch | Ping | Pong
ServerMessage: TypeAlias = Welcome | Accepted | Rows | Done | Error | Ping | Pong | GoAway | Queued
Message: TypeAlias = ClientMessage | ServerMessage

M = TypeVar("M")


class _AnyMessage(Struct, array_like=True, frozen=True):
    """Only the tag; what follows is skipped, so that a hostile frame costs no memory."""

    number: int


_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)
_any_decoder = msgspec.msgpack.Decoder(_AnyMessage)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """One message as one frame's payload. What was added to `accepted`, and to the models of
    `welcome`, is omitted at its default.

    Raises ValueError where the text cannot be UTF-8 (a lone surrogate). Ranges are checked where
    a frame is received, not here: what we send we built ourselves.
    """
    match message:
        case Accepted():
            fields = without_trailing_defaults(message)
        case Welcome(limits, models):
            fields = [limits, [without_trailing_defaults(model) for model in models]]
        case _:
            return _encoder.encode(message)
    return _encoder.encode((message.__struct_config__.tag, *fields))


def without_trailing_defaults(record: Struct) -> list[Any]:
    """The fields of a record but for those at its end that are at their default (R-4)."""
    values = list(msgspec.structs.astuple(record))
    for default in reversed(record.__struct_defaults__):
        if values[-1] != default:
            break
        values.pop()
    return values


def decode_client(frame: bytes, limit: int = MAX_CLIENT_FRAME_BYTES) -> ClientMessage | None:
    """A frame of a client; None for an unknown optional tag (R-6). Raises MalformedFrame."""
    return _decode(_client_decoder, frame, limit)


def decode_server(frame: bytes) -> ServerMessage | None:
    """A frame of a server; None for an unknown optional tag (R-6). Raises MalformedFrame."""
    message = _decode(_server_decoder, frame, MAX_WELCOME_BYTES)
    if len(frame) > MAX_SERVER_FRAME_BYTES and not isinstance(message, Welcome):
        raise MalformedFrame(
            f"a server frame of {len(frame)} bytes; at most {MAX_SERVER_FRAME_BYTES} are allowed"
        )
    return message


def _decode(decoder: msgspec.msgpack.Decoder[M], frame: bytes, limit: int) -> M | None:
    if len(frame) > limit:
        raise MalformedFrame(f"a frame of {len(frame)} bytes; at most {limit} are allowed")
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        known = {kind.__struct_config__.tag for kind in get_args(decoder.type)}
        if _is_optional(frame, known):
            return None
        raise MalformedFrame(f"not a message of {SUBPROTOCOL}: {error}") from error


def _is_optional(frame: bytes, known: set[Any]) -> bool:
    try:
        number = _any_decoder.decode(frame).number
        return number >= FIRST_OPTIONAL_TAG and number not in known
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def view_key(key: bytes) -> bytes:
    """The key that only watches: the first 16 bytes of SHA-256("rowcast view" ‖ key) (R-31)."""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise InvalidRequest(f"key must be {KEY_BYTES} bytes; bytes.fromhex makes them of a text")
    return hashlib.sha256(b"rowcast view" + key).digest()[:KEY_BYTES]


def ids_checksum(ids: bytes | bytearray) -> int:
    """CRC-32 (zlib) of little-endian ids, as in `done` and `watch` (R-24)."""
    return zlib.crc32(ids)


def id_bytes_for(codebook_size: int) -> Literal[2, 4]:
    """Bytes an id takes on the wire: 2, or 4 where the codebook is larger than 65,536 (R-9)."""
    return 2 if codebook_size <= 65_536 else 4
