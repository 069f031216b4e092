"""The server's messages, made by hand; a server on a real socket that says what a test wants."""

from __future__ import annotations

import asyncio
import ssl
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace
from rowcast.messages import (
    SUBPROTOCOL,
    Accepted,
    ClientMessage,
    Done,
    DoneReason,
    Limits,
    Model,
    Range,
    Rows,
    SamplingRanges,
    Welcome,
    decode_client,
    encode,
)
from websockets.asyncio.server import Server, ServerConnection, serve

ROWS = COLS = 4
CODES = 96
MODEL = Model(
    name="tiny",
    revision=b"revision",
    rows=ROWS,
    cols=COLS,
    pixels_per_token=4,
    codebook_size=CODES,
    id_bytes=2,
    sampling=SamplingRanges(
        temperature=Range(1.0, 0.01, 10.0),
        top_k=Range(32, 0, CODES),
        top_p=Range(1.0, 0.01, 1.0),
        guidance=Range(4.0, 0.0, 64.0),
    ),
    files=[],
)
LIMITS = Limits(
    client_frame_bytes=4_096,
    prompt_bytes=2_000,
    images=64,
    streams=256,
    grace_ms=30_000,
    keep_ms=300_000,
)


def ids_of(row: int, image: int = 0) -> bytes:
    """The ids of a row, as they are on the wire: no two rows of a picture are alike."""
    return b"".join((8 * image + 4 * row + col).to_bytes(2, "little") for col in range(COLS))


def ids_until(row: int, image: int = 0) -> bytes:
    return b"".join(ids_of(each, image) for each in range(row))


def welcome(model: Model = MODEL, **limits: int) -> bytes:
    return encode(Welcome(replace(LIMITS, **limits), [model]))


def accepted(stream: int = 0, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "image": stream,
        "model": MODEL.name,
        "revision": MODEL.revision,
        "seed": 7,
        "rows": ROWS,
        "cols": COLS,
        "id_bytes": 2,
        "first_row": 0,
        "position": 0,
    }
    return encode(Accepted(stream, **(fields | changes)))


def rows(first: int, count: int = 1, stream: int = 0) -> bytes:
    ids = b"".join(ids_of(row, stream) for row in range(first, first + count))
    return encode(Rows(stream, first, ids))


def done(
    rows_drawn: int = ROWS, stream: int = 0, reason: int = DoneReason.COMPLETE, crc32: int = -1
) -> bytes:
    checksum = zlib.crc32(ids_until(rows_drawn, stream)) if crc32 < 0 else crc32
    return encode(Done(stream, rows_drawn, checksum, 5, reason))


Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The fake server's end of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def send(self, *frames: bytes | str) -> None:
        for frame in frames:
            await self.connection.send(frame)

    async def receive(self) -> ClientMessage | None:
        frame = await self.connection.recv()
        assert isinstance(frame, bytes)
        return decode_client(frame)

    async def greet(self, model: Model = MODEL) -> ClientMessage | None:
        """Take hello, send welcome, take the first request."""
        await self.receive()
        await self.send(welcome(model))
        return await self.receive()

    def drop(self) -> None:
        """Break the link as a crash does: no close frame."""
        self.connection.transport.abort()


class FakeServer:
    """Plays one script after the other, one a connection, and the last one ever after."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connections = 0


@contextmanager
def fake_server(
    *scripts: Script,
    subprotocol: str | None = SUBPROTOCOL,
    max_size: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[FakeServer]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    fake = FakeServer("")

    async def handle(connection: ServerConnection) -> None:
        script = scripts[min(fake.connections, len(scripts) - 1)]
        fake.connections += 1
        await script(Peer(connection))

    async def start() -> Server:
        return await serve(
            handle,
            "127.0.0.1",
            0,
            subprotocols=None if subprotocol is None else [subprotocol],  # type: ignore[list-item]
            compression=None,
            close_timeout=1,
            max_size=max_size,
            ssl=tls,
        )

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    port = next(iter(server.sockets)).getsockname()[1]
    fake.url = f"ws://127.0.0.1:{port}"
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
