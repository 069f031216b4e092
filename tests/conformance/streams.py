"""The rules that hold in every exchange: frames of a server, and of a client, one after the other.

A script says what is to come; these two see to it that nothing comes which no rule allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

from . import frames
from .frames import Broken

QUEUED_SECONDS: Final = 0.8  # "at most once a second", and what a network may make of it
COMPLETE, STOP_ROW = 0, 1


@dataclass
class Stream:
    """A picture's frames on one stream; ``held`` are the ids from its first row on."""

    number: int
    image: int
    start: dict[str, Any] | None  # None: it was opened by `watch`
    held: bytearray
    first_row: int
    siblings: list[Stream]  # of its `start`, itself among them
    accepted: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    queued_at: float = float("-inf")

    @property
    def rows(self) -> int:
        """Rows held. Raises Broken before `accepted`, which tells their length."""
        if self.accepted is None:
            raise Broken("R-25", f"stream {self.number} was not accepted yet")
        row_bytes: int = self.accepted["cols"] * self.accepted["id_bytes"]
        return len(self.held) // row_bytes


@dataclass
class ServerRules:
    """What a server sends on one connection, after what was sent to it."""

    welcome: dict[str, Any] | None = None
    streams: dict[int, Stream] = field(default_factory=dict)  # also those that ended

    def sent(self, message: dict[str, Any], holding: bytes = b"") -> None:
        """Take note of a frame to the server; ``holding`` are the ids behind a `watch`."""
        number = message.get("stream")
        if message["message"] == "watch":
            rows = message["rows_held"]
            stream = Stream(number or 0, message["image"], None, bytearray(holding), rows, [])
            self.streams[stream.number] = stream
        elif message["message"] == "start":
            self._started(message)

    def _started(self, start: dict[str, Any]) -> None:
        options = start["options"]
        siblings: list[Stream] = []
        count = start["images"] if 1 <= start["images"] <= 4096 else 1
        if start["stream"] + count > 65_536:
            count = 1  # its error comes once
        for index in range(count):
            held = bytearray(options["prefix"] or b"")
            image = options["first_image"] + index
            stream = Stream(start["stream"] + index, image, start, held, -1, siblings)
            siblings.append(stream)
            self.streams[stream.number] = stream

    @property
    def open(self) -> list[Stream]:
        """The streams that have not ended."""
        return [stream for stream in self.streams.values() if stream.ended is None]

    def take(self, data: bytes | str, now: float) -> dict[str, Any] | None:
        """A frame of the server, as `frames.read_frame`. Raises Broken."""
        message = frames.read_frame(frames.SERVER, data)
        kind = message["message"] if message else ""
        most = frames.MAX_WELCOME_BYTES if kind == "welcome" else frames.MAX_SERVER_FRAME_BYTES
        if len(data) > most:
            raise Broken("R-10", f"a frame of {len(data)} bytes; the most are {most}")
        if (kind == "welcome") == (self.welcome is not None):
            raise Broken("R-16", "a second welcome" if self.welcome else f"{kind} before welcome")
        if message is None:
            return None
        if kind == "welcome":
            self.welcome = message
            _check_welcome(message)
        elif kind in ("accepted", "queued", "rows", "done") or (
            kind == "error" and message["stream"] is not None
        ):
            stream = self.streams.get(message["stream"])
            if stream is None or stream.ended is not None:
                raise Broken("R-30", f"{kind} on stream {message['stream']}, which is not open")
            getattr(self, f"_{kind}")(stream, message, now)
        return message

    def _accepted(self, stream: Stream, message: dict[str, Any], _: float) -> None:
        assert self.welcome is not None
        if stream.accepted is not None:
            raise Broken("R-25", f"stream {stream.number} was accepted twice")
        models = {model["name"]: model for model in self.welcome["models"]}
        model = models.get(message["model"])
        if model is None:
            raise Broken("R-66", f"a picture by {message['model']!r}, which was not announced")
        for name in ("revision", "rows", "cols", "id_bytes"):
            if message[name] != model[name]:
                raise Broken("R-25", f"{name} {message[name]!r}; {model[name]!r} was announced")
        if message["image"] != stream.image:
            raise Broken("R-17", f"image {message['image']} on the stream of image {stream.image}")
        stream.accepted = message
        first = stream.first_row if stream.start is None else stream.rows
        if message["first_row"] != first:
            raise Broken("R-26", f"first_row is {message['first_row']}, not {first}")
        seeds = {each.accepted["seed"] for each in stream.siblings if each.accepted}
        if stream.start is not None and stream.start["options"]["seed"] is not None:
            seeds.add(stream.start["options"]["seed"])
        if len(seeds) > 1:
            raise Broken("R-20", f"the pictures of a start have the seeds {sorted(seeds)}")

    def _queued(self, stream: Stream, message: dict[str, Any], now: float) -> None:
        if stream.rows > (stream.accepted or {})["first_row"] and message["position"]:
            raise Broken("R-27", f"stream {stream.number} is queued after its first row")
        if now - stream.queued_at < QUEUED_SECONDS:
            raise Broken("R-27", f"stream {stream.number} told two positions within a second")
        stream.queued_at = now

    def _rows(self, stream: Stream, message: dict[str, Any], _: float) -> None:
        assert self.welcome is not None
        if message["first_row"] != stream.rows:
            raise Broken("R-28", f"row {message['first_row']} comes; {stream.rows} are held")
        accepted = stream.accepted or {}
        size = accepted["id_bytes"]
        if len(message["ids"]) % (accepted["cols"] * size):
            raise Broken("R-28", f"{len(message['ids'])} bytes of ids are not whole rows")
        stream.held += message["ids"]
        (codes,) = (
            model["codebook_size"]
            for model in self.welcome["models"]
            if model["name"] == accepted["model"]
        )
        ids = message["ids"]
        greatest = max(
            int.from_bytes(ids[at : at + size], "little") for at in range(0, len(ids), size)
        )
        if greatest >= codes:
            raise Broken("R-28", f"the id {greatest}; there are {codes} codes")
        most = ((stream.start or {}).get("options") or {}).get("stop_row") or accepted["rows"]
        if stream.rows > most:
            raise Broken("R-28", f"{stream.rows} rows; {most} were to be drawn")

    def _done(self, stream: Stream, message: dict[str, Any], _: float) -> None:
        if message["rows"] != stream.rows:
            raise Broken("R-29", f"done counts {message['rows']} rows; {stream.rows} came")
        if message["crc32"] != frames.crc32(bytes(stream.held)):
            raise Broken("R-24", f"the crc32 of stream {stream.number} is not that of its rows")
        rows = (stream.accepted or {})["rows"]
        if message["reason"] == COMPLETE and stream.rows != rows:
            raise Broken("R-25", f"complete with {stream.rows} of {rows} rows")
        stream.ended = message

    def _error(self, stream: Stream, message: dict[str, Any], _: float) -> None:
        stream.ended = message


def _check_welcome(welcome: dict[str, Any]) -> None:
    """Raise Broken where what is announced cannot be."""
    for model in welcome["models"]:
        if model["id_bytes"] != (2 if model["codebook_size"] <= 65_536 else 4):
            raise Broken("R-9", f"{model['codebook_size']} codes of {model['id_bytes']} bytes")
        for name, numbers in model["sampling"].items():
            if not all(map(math.isfinite, numbers.values())):
                raise Broken("R-92", f"the range of {name} is not finite")
        default = model["sampling"]["top_k"]["default"]
        if default != int(default) or not 0 <= default <= 2**32 - 1:
            raise Broken("R-92", f"the default of top_k is {default}")
    names = [model["name"] for model in welcome["models"]]
    if len({*names}) != len(names):
        raise Broken("R-66", f"two models of one name: {', '.join(names)}")
    largest = max(model["rows"] * model["cols"] * model["id_bytes"] for model in welcome["models"])
    if largest >= welcome["limits"]["client_frame_bytes"]:
        raise Broken("R-56", f"a prefix may have {largest} bytes, more than a frame")


@dataclass
class ClientRules:
    """What a client sends on one connection, after what was sent to it."""

    greeted: bool = False
    limit: int = frames.MAX_CLIENT_FRAME_BYTES
    going_away: bool = False
    open: set[int] = field(default_factory=set)

    def sent(self, message: dict[str, Any] | None) -> None:
        """Take note of a frame to the client."""
        kind = message["message"] if message else ""
        if message is None:
            return
        if kind == "welcome":
            self.limit = message["limits"]["client_frame_bytes"]
        elif kind == "goaway":
            self.going_away = True
        elif kind in ("done", "error"):
            self.open.discard(message["stream"])

    def take(self, data: bytes | str) -> dict[str, Any] | None:
        """A frame of the client, as `frames.read_frame`. Raises Broken."""
        message = frames.read_frame(frames.CLIENT, data)
        kind = message["message"] if message else ""
        limit = self.limit if self.greeted else frames.MAX_HELLO_BYTES
        if len(data) > limit:
            raise Broken("R-10", f"a frame of {len(data)} bytes; the most are {limit}")
        if (kind == "hello") == self.greeted:
            raise Broken("R-13", "a second hello" if self.greeted else f"{kind} before hello")
        self.greeted = True
        if message is not None and kind in ("start", "watch"):
            if kind == "start" and self.going_away:
                raise Broken("R-51", "a start after goaway")
            count = message["images"] if kind == "start" else 1
            streams = {*range(message["stream"], message["stream"] + count)}
            if streams & self.open:
                raise Broken("R-18", f"{kind} on a stream that is open")
            self.open |= streams
        return message
