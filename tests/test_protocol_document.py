"""protocol.md and the codec say the same: numbers, names, types, limits, and every frame shown.

Each table of the document is read here and compared with messages.py in both directions, and
every rule that code, tests or vectors mention must exist. Nothing here knows the bytes.
"""

from __future__ import annotations

import json
import re
import zlib
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from msgspec import inspect
from rowcast import messages
from rowcast.client import Client
from rowcast.messages import CloseCode, DoneReason, ErrorCode
from rowcast.transport import PEERS_FAULT
from rowcast_server.config import ServerConfig
from rowcast_server.gateway.request_head import SHARED_HEADERS
from websockets.asyncio.client import connect as open_websocket

from tests import document
from tests.document import ROOT

VECTORS = ROOT / "tests" / "vectors"
RULE = re.compile(r"(?<![\w-])R-(\d+)\b")
WEB = ROOT / "client_web"
SEARCHED = ("client_py", "server", "vqgan_export", "bench", "client_web", "tests", "docs")

MESSAGES: dict[str, type[msgspec.Struct]] = {
    kind.__name__.lower(): kind
    for kind in (*get_args(messages.ClientMessage), *get_args(messages.ServerMessage))
}
PARTS: dict[str, type[msgspec.Struct]] = {
    "limits": messages.Limits,
    "model": messages.Model,
    "sampling": messages.SamplingRanges,
    "range": messages.Range,
    "file": messages.DetokenizerFile,
    "options": messages.Options,
}


def type_name(kind: inspect.Type) -> str:
    """A type of the codec as the document writes it."""
    match kind:
        case inspect.IntType(ge=ge, le=le):
            return "int" if (ge, le) == (-(2**63), 2**63 - 1) else f"int {ge}…{le}"
        case inspect.LiteralType(values=values):
            return "int " + " or ".join(map(str, values))
        case inspect.FloatType():
            return "float"
        case inspect.StrType(min_length=low, max_length=high):
            return "str" if high is None else f"str {low or 0}…{high}"
        case inspect.BytesType(min_length=low, max_length=high):
            if high is None:
                return "bin"
            return f"bin {high}" if low == high else f"bin {low}…{high}"
        case (
            inspect.ListType(item_type=item, min_length=low, max_length=high)
            | inspect.VarTupleType(item_type=item, min_length=low, max_length=high)
        ):
            return f"array {low or 0}…{high} of {type_name(item)}"
        case inspect.StructType(cls=cls):
            return f"`{next(name for name, part in PARTS.items() if part is cls)}`"
        case inspect.UnionType(types=types):
            (only,) = (t for t in types if not isinstance(t, inspect.NoneType))
            return f"{type_name(only)} or nil"
    raise AssertionError(kind)


def written(value: Any) -> str:
    """A decoded message as the document writes it; what is at its default is not shown."""
    if isinstance(value, msgspec.Struct):
        info = inspect.type_info(type(value))
        assert isinstance(info, inspect.StructType)
        shown = [(field, getattr(value, field.name)) for field in info.fields]
        text = ", ".join(
            f"{field.name}={written(item)}" for field, item in shown if item != field.default
        )
        if isinstance(value, tuple(MESSAGES.values())):
            return f"{type(value).__name__.lower()}({text})"
        return f"{{{text}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    return "nil" if value is None else json.dumps(value, ensure_ascii=False)


def shown_frames() -> list[tuple[str, bytes, str]]:
    """(side, bytes, text) of every frame that the exchanges show."""
    frames = []
    pattern = re.compile(r"^([CS])  ((?:[0-9a-f]+\s+)+)((?: *;[^\n]*\n)+)", re.MULTILINE)
    for block in document.code_blocks("frames"):
        rest = re.sub(r"^\* .*\n", "", block, flags=re.MULTILINE)
        for side, digits, text in pattern.findall(rest):
            words = " ".join(line.lstrip("; ").strip() for line in text.splitlines())
            frames.append((side, bytes.fromhex(digits), words))
        assert not pattern.sub("", rest).strip(), "a line that is no frame"
    return frames


def test_rules_are_unique_and_consecutive() -> None:
    """The first 90 stand in their order; those that came later have the next numbers."""
    numbers = document.rules()
    assert [number for number in numbers if number <= 90] == list(range(1, 91))
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_every_rule_mentioned_anywhere_is_in_force() -> None:
    withdrawn = {
        int(number) for number in re.findall(r"^- \*\*R-(\d+)\*\* Withdrawn", document.TEXT, re.M)
    }
    known = set(document.rules()) - withdrawn
    paths = [*ROOT.glob("*.md"), *VECTORS.glob("*.json")]
    for folder in SEARCHED:
        for suffix in ("py", "js", "mjs", "ts", "html", "md"):
            paths += (ROOT / folder).rglob(f"*.{suffix}")
    mentioned = {
        (int(number), path.relative_to(ROOT))
        for path in paths
        if "node_modules" not in path.parts
        for number in RULE.findall(path.read_text(encoding="utf-8"))
    }
    assert {number for number, _ in mentioned} >= {6, 9, 24, 31, 73}
    gone = {(number, Path("protocol.md")) for number in withdrawn}  # where it says so
    assert withdrawn == {88, 89, 90}
    assert [f"R-{n} in {path}" for n, path in sorted(mentioned - gone) if n not in known] == []


def test_every_later_rule_is_cited_by_the_code_or_shown_by_a_test() -> None:
    cited = {
        int(number)
        for path in [
            *VECTORS.glob("*.json"),
            *(path for folder in SEARCHED for path in (ROOT / folder).rglob("*.py")),
            *(path for part in ("src", "tests") for path in (WEB / part).rglob("*.ts")),
        ]
        for number in RULE.findall(path.read_text(encoding="utf-8"))
    }
    later = {number for number in document.rules() if number > 90}
    assert later - cited == set()


def test_rules_that_the_codec_cites_say_what_it_means() -> None:
    for number, words in {
        6: "32 or more that the receiver does not know is ignored",
        8: "Unicode code points",
        9: "2 bytes each, or 4",
        24: "CRC-32",
        31: "SHA-256",
        73: "close codes",
    }.items():
        (text,) = re.findall(rf"^- \*\*R-{number}\*\* (.*)$", document.TEXT, re.M)
        assert words in text, f"R-{number}"


ANSWERS = {  # to what those asked who wrote a front end from the document alone
    91: ["An ignored element (R-4)", "need only be well-formed MessagePack"],
    92: ["those of `top_k` as well", "`top_k` is an int: 7.0 is malformed"],
    97: ['"At once" in', "It does not mean before `welcome`"],
    100: ["at most three attempts"],
    102: ["leaves the prompt empty and writes 0 for each sampling parameter"],
    103: [
        "fewer rows than the grid",
        "any number of grids at once",
        "Channels are red, green, blue",
    ],
    107: ["the picture is what the first there is", "names the one that its writer chose"],
    109: ["HTTP 400 or 403, no subprotocol chosen", "1006 counts as"],
    110: ["A page cannot follow redirects"],
    112: ["`Content-Security-Policy` names both addresses"],
    118: ["A browser sends `Origin`"],
}


@pytest.mark.parametrize("number", ANSWERS)
def test_what_strangers_asked_is_answered_by_a_rule(number: int) -> None:
    assert [answer for answer in ANSWERS[number] if answer not in rule(number)] == []


def test_sections_that_the_code_cites_by_number() -> None:
    assert re.search(r"^## 6\. Errors$", document.TEXT, re.M)  # errors.py: RequestRefused


def test_messages_have_the_same_tags_sides_and_fields() -> None:
    documented = {
        (int(tag), name.strip("`"), side, fields)
        for tag, name, side, fields in document.table("tag")
    }
    clients, servers = get_args(messages.ClientMessage), get_args(messages.ServerMessage)
    sides = {(True, False): "client", (False, True): "server", (True, True): "both"}
    assert documented == {
        (
            kind.__struct_config__.tag,
            name,
            sides[kind in clients, kind in servers],
            ", ".join(kind.__struct_fields__),
        )
        for name, kind in MESSAGES.items()
    }


@pytest.mark.parametrize("name", [*MESSAGES, *PARTS])
def test_every_field_has_the_same_place_type_and_range(name: str) -> None:
    info = inspect.type_info({**MESSAGES, **PARTS}[name])
    assert isinstance(info, inspect.StructType)
    rows = document.table(f"`{name}`", "type")
    expected = [[field.name, type_name(field.type)] for field in info.fields]
    assert [row[:2] for row in rows] == expected
    if name == "options":
        assert [row[2] for row in rows] == [written(field.default) for field in info.fields]


def test_every_size_and_time_has_the_same_value() -> None:
    documented = {
        name.strip("`"): float(value.replace(",", ""))
        for header in ("maximum", "exactly")
        for _, value, name in document.table(header)
    }
    constants = {
        name: float(value)
        for name, value in vars(messages).items()
        if name.isupper() and isinstance(value, int | float)
    }
    assert documented == constants


def rule(number: int) -> str:
    """The text of a rule."""
    (text,) = re.findall(rf"^- \*\*R-{number}\*\* (.*)$", document.TEXT, re.M)
    return str(text)


def test_a_frame_of_rows_holds_as_many_ids_as_the_document_says() -> None:
    frames = [messages.encode(messages.Rows(stream, 63, bytes(300))) for stream in (127, 255, 256)]
    room = [messages.MAX_SERVER_FRAME_BYTES - len(frame) + 300 for frame in frames]
    words = "{:,} bytes of ids where the stream is below 128, {:,} below 256, {:,} above"
    assert f"room for {words.format(*room)}" in rule(93)
    largest = 64 * 64 * 4
    assert min(room) < largest == messages.MAX_SERVER_FRAME_BYTES <= 2 * (min(room) // 256) * 256


def test_waits_are_those_of_the_programs() -> None:
    interval = ServerConfig().ping_interval
    assert f"every {interval:g} seconds" in rule(98)
    sent_after, lost_after = keepalive()
    assert f"come for {sent_after:g} seconds it sends one, and when {lost_after:g} more" in rule(98)
    patience = signature(Client.__init__).parameters["reconnect"].default
    assert f"{patience:g} seconds is usual" in rule(99)
    assert all(str(code) in rule(99) for code in PEERS_FAULT)


def keepalive() -> tuple[float, float]:
    """How often the Python client pings, and how long it waits, by `websockets` itself."""
    defaults = signature(open_websocket.__init__).parameters
    return defaults["ping_interval"].default, defaults["ping_timeout"].default


def test_files_are_for_any_page() -> None:
    text = rule(111)
    for name, value in SHARED_HEADERS.items():
        if name == "Access-Control-Expose-Headers":
            assert [each for each in value.split(", ") if f"`{each}`" not in text] == []
        elif name != "X-Content-Type-Options":
            assert f"`{name}: {value}`" in text


def test_done_reasons_are_the_same() -> None:
    documented = [(int(number), name) for number, name, _ in document.table("reason", "name")]
    assert documented == [(reason.value, reason.name.lower()) for reason in DoneReason]


def test_error_codes_are_the_same() -> None:
    documented = [code.strip("`") for _, code, *_ in document.table("rule", "code")]
    assert documented == [code for name, code in vars(ErrorCode).items() if name.isupper()]


def test_close_codes_are_the_same_and_say_whether_to_retry() -> None:
    documented = [
        (int(code), name, "do not retry" not in advice)
        for code, name, _, advice in document.table("code", "name")
    ]
    assert documented == [(c.value, c.name.lower(), messages.may_reconnect(c)) for c in CloseCode]
    assert all("reconnect" in a or "do not retry" in a for *_, a in document.table("code", "name"))


def test_closes_in_the_exchanges_are_close_codes() -> None:
    closes = re.findall(r"^\* the server closes: (\d+) (.*)$", document.TEXT, re.M)
    assert closes
    for code, name in closes:
        assert CloseCode(int(code)).name.lower().replace("_", " ") == name


@pytest.mark.parametrize(("side", "frame", "text"), shown_frames())
def test_frames_shown_decode_to_what_is_written(side: str, frame: bytes, text: str) -> None:
    decode = messages.decode_client if side == "C" else messages.decode_server
    assert written(decode(frame)) == text
    tag = msgpack.unpackb(frame)[0]
    assert MESSAGES[text.partition("(")[0]].__struct_config__.tag == tag


def test_exchanges_keep_the_rules_of_streams_and_checksums() -> None:
    """Rows follow each other, and every CRC-32 and view key shown is the right one."""
    keys = set()
    for block in document.code_blocks("frames"):
        held: dict[int, bytes] = {}
        for line in re.findall(r"^([CS])  ((?:[0-9a-f]+\s+)+);", block, re.M):
            decode = messages.decode_client if line[0] == "C" else messages.decode_server
            message = decode(bytes.fromhex(line[1]))
            if isinstance(message, messages.Start):
                keys.add(messages.view_key(message.key))
            elif isinstance(message, messages.Watch):
                assert message.view_key in keys
            elif isinstance(message, messages.Accepted) and message.first_row == 0:
                held[message.stream] = b""
            elif isinstance(message, messages.Rows) and message.stream in held:
                assert len(message.ids) % 8 == 0
                assert message.first_row * 8 == len(held[message.stream])
                held[message.stream] += message.ids
            elif isinstance(message, messages.Done) and message.stream in held:
                ids = held[message.stream]
                if len(ids) == message.rows * 8:  # "…" leaves rows out
                    assert message.crc32 == zlib.crc32(ids)
    key = bytes(range(16))
    assert f"`{key.hex()}` it is `{messages.view_key(key).hex()}`." in document.TEXT


def test_byte_counts_are_true() -> None:
    ids = bytes(32)
    row = len(messages.encode(messages.Rows(0, 15, ids)))
    ends = (
        messages.Accepted(0, 0, "postcard", bytes(8), 2**31, 16, 16, 2, 0, 0),
        messages.Done(0, 16, 2**31, 3_000, 0),
    )
    picture = 16 * (row + 2) + sum(len(messages.encode(message)) + 2 for message in ends)
    documented = [int(cells[1]) for cells in document.table("what", "bytes")[:3]]
    assert documented == [row, row + 2, picture]
    assert (row, row + 2) == (38, 40)
