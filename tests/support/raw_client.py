"""Two clients that share no code with ours: `websockets` with bare msgpack, and a bare socket."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

HELLO, WELCOME, START, ACCEPTED, ROWS, DONE, ERROR, CANCEL, WATCH, PING, PONG = range(11)
GOAWAY, QUEUED = 12, 13
COMPLETE, STOP_ROW, CANCELLED, DEADLINE, LEFT = range(5)
PATIENCE = 40.0  # seconds; longer than any wait that is meant


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """For what tells nobody when it changes."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Received:
    """What came on one stream: the frames as arrays without tag and stream."""

    accepted: list[Any] | None = None
    ids: bytes = b""
    frames: list[list[Any]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    done: list[Any] | None = None
    error: list[Any] | None = None

    @property
    def seed(self) -> int:
        assert self.accepted is not None
        return int(self.accepted[3])

    @property
    def first_row(self) -> int:
        assert self.accepted is not None
        return int(self.accepted[7])

    @property
    def reason(self) -> int:
        assert self.done is not None, self
        return int(self.done[3])

    @property
    def code(self) -> str:
        assert self.error is not None, self
        return str(self.error[0])

    @property
    def ended(self) -> bool:
        return self.done is not None or self.error is not None

    def take(self, tag: int, fields: list[Any]) -> None:
        """One frame of the stream, checked against R-25 and R-28."""
        assert not self.ended, "nothing comes after the end"
        match tag:
            case 3:
                assert self.accepted is None
                self.accepted = fields
                self.positions.append(fields[8])
            case 4:
                assert self.accepted is not None
                row_bytes = self.accepted[5] * self.accepted[6]
                assert fields[0] == self.first_row + len(self.ids) // row_bytes
                assert len(fields[1]) % row_bytes == 0
                self.ids += fields[1]
                self.frames.append(fields)
            case 5:
                assert self.accepted is not None
                self.done = fields
            case 6:
                self.error = fields
            case 13:
                assert self.accepted is not None
                self.positions.append(fields[0])
            case _:
                raise AssertionError(f"tag {tag} on a stream")


class Client:
    """Arrays in, arrays out."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: list[Any] = []
        self.streams: dict[int, Received] = {}

    async def send(self, *fields: Any) -> None:
        await self.connection.send(msgpack.packb(fields))

    async def receive(self) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            frame = await self.connection.recv()
        assert isinstance(frame, bytes)
        message: list[Any] = msgpack.unpackb(frame)
        return message

    async def start(
        self,
        stream: int,
        prompt: str = "a red house",
        *,
        key: bytes | None = None,
        images: int = 1,
        seed: int | None = 7,
        first_image: int = 0,
        stop_row: int | None = None,
        prefix: bytes | None = None,
    ) -> bytes:
        """Returns the key."""
        key = key or os.urandom(16)
        options = [None, seed, first_image, None, None, None, None, stop_row, prefix]
        await self.send(START, stream, key, prompt, images, options)
        return key

    async def watch(
        self, stream: int, view_key: bytes, *, image: int = 0, held: bytes = b"", rows: int = 0
    ) -> None:
        await self.send(WATCH, stream, view_key, image, rows, zlib.crc32(held))

    async def take(self) -> list[Any]:
        """The next frame, booked on its stream."""
        message = await self.receive()
        tag, *fields = message
        if tag in (ACCEPTED, ROWS, DONE, QUEUED) or (tag == ERROR and fields[0] is not None):
            self.streams.setdefault(fields[0], Received()).take(tag, fields[1:])
        return message

    async def picture(self, stream: int) -> Received:
        """Everything on a stream until its end; it is free again."""
        while stream not in self.streams or not self.streams[stream].ended:
            await self.take()
        return self.streams.pop(stream)

    async def rows(self, stream: int, ids: int) -> Received:
        """What has come on a stream once so many bytes of ids are there."""
        while stream not in self.streams or len(self.streams[stream].ids) < ids:
            await self.take()
        return self.streams[stream]

    async def close_code(self) -> int:
        """Reads until the server closes."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


@asynccontextmanager
async def connected(
    url: str, token: str | None = None, *, greet: bool = True, **arguments: Any
) -> AsyncIterator[Client]:
    """A client that has had its welcome, if it is to greet."""
    settings: dict[str, Any] = {"subprotocols": ["rowcast.v1"], "compression": None, "proxy": None}
    async with connect(url, **(settings | arguments)) as connection:
        client = Client(connection)
        if greet:
            await client.send(HELLO, token, "raw")
            client.welcome = await client.receive()
            assert client.welcome[0] == WELCOME
        yield client


@dataclass(frozen=True)
class Frame:
    """A WebSocket frame as it was on the socket; ``size`` counts its header too."""

    opcode: int
    payload: bytes
    size: int


class BareSocket:
    """A WebSocket client by hand (RFC 6455): every byte is counted, and it reads when told to."""

    def __init__(self, url: str, *, host: str | None = None, receive_buffer: int = 0) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        family = socket.AF_INET6 if ":" in address.hostname else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((address.hostname, address.port))
        self._buffer = b""
        self.status = self._handshake(host or address.netloc)

    def __enter__(self) -> BareSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _handshake(self, host: str) -> str:
        nonce = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: rowcast.v1\r\n\r\n".encode("latin-1")
        )
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.split(b"\r\n")[0].decode()

    def _fill(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError("the server closed the connection")
        self._buffer += data

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def send(self, *fields: Any) -> None:
        self.socket.sendall(masked(msgpack.packb(fields)))

    def receive_frame(self) -> Frame:
        head = self._read(2)
        opcode, length, size = head[0] & 0x0F, head[1], 2
        assert head[0] & 0x80, "a whole message in one frame"
        assert not head[1] & 0x80, "a server does not mask"
        if length == 126:
            (length,) = struct.unpack(">H", self._read(2))
            size += 2
        elif length == 127:
            (length,) = struct.unpack(">Q", self._read(8))
            size += 8
        return Frame(opcode, self._read(length), size + length)

    def receive(self) -> list[Any]:
        frame = self.receive_frame()
        assert frame.opcode == 2, frame
        message: list[Any] = msgpack.unpackb(frame.payload)
        return message


def masked(payload: bytes, opcode: int = 2) -> bytes:
    """A client's frame; the mask is zero, which RFC 6455 allows and no server can tell."""
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
    elif length < 65_536:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + bytes(4) + payload
