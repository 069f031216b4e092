"""A relay before a right server that makes it a wrong one, in one way or another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from msgspec.structs import replace
from rowcast.errors import MalformedFrame
from rowcast.messages import (
    SUBPROTOCOL,
    Accepted,
    Cancel,
    ClientMessage,
    Done,
    Error,
    Pong,
    Rows,
    ServerMessage,
    Start,
    Watch,
    decode_client,
    decode_server,
    encode,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Data = bytes | str


class Close(Exception):
    """The relay closes, with this code."""


@dataclass(frozen=True)
class Fault:
    """What a relay does wrong to frames of the server, and of the client."""

    name: str
    shown_by: str  # an exchange that must fail
    answers: Callable[[ServerMessage | None, bytes], Iterator[bytes]] = lambda _, frame: iter(
        [frame]
    )
    requests: Callable[[ClientMessage | None, Data], Iterator[Data]] = lambda _, frame: iter(
        [frame]
    )


def _repeats_a_row(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    yield frame
    if isinstance(message, Rows):
        yield frame


def _wrong_checksum(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    yield encode(replace(message, crc32=message.crc32 ^ 1)) if isinstance(message, Done) else frame


def _done_too_early(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    if not isinstance(message, Rows) or message.first_row < 3:
        yield frame  # of the 4 rows of the tiny model


def _closes_at_an_error(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    if isinstance(message, Error):
        raise Close(4400)
    yield frame


def _another_seed(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    yield encode(replace(message, seed=5)) if isinstance(message, Accepted) else frame


def _another_echo(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    yield encode(Pong(message.echo ^ 1)) if isinstance(message, Pong) else frame


def _busy_without_a_time(message: ServerMessage | None, frame: bytes) -> Iterator[bytes]:
    yield encode(replace(message, retry_ms=0)) if isinstance(message, Error) else frame


def _ignores_cancel(message: ClientMessage | None, frame: Data) -> Iterator[Data]:
    if not isinstance(message, Cancel):
        yield frame


def _ignores_what_is_malformed(message: ClientMessage | None, frame: Data) -> Iterator[Data]:
    if message is not None or not isinstance(frame, bytes):
        yield frame


def _takes_text(message: ClientMessage | None, frame: Data) -> Iterator[Data]:
    if isinstance(frame, bytes):
        yield frame


def _forgets_pictures(message: ClientMessage | None, frame: Data) -> Iterator[Data]:
    yield encode(replace(message, view_key=bytes(16))) if isinstance(message, Watch) else frame


def _keys_name_nothing(message: ClientMessage | None, frame: Data) -> Iterator[Data]:
    if isinstance(message, Start):
        message = replace(message, key=bytes([message.stream % 256, *message.key[1:]]))
        yield encode(message)
    else:
        yield frame


FAULTS = (
    Fault("repeats a row", "start/one-picture", _repeats_a_row),
    Fault("sends a wrong checksum", "start/one-picture", _wrong_checksum),
    Fault("is done too early", "start/one-picture", _done_too_early),
    Fault("closes 4400 where an error is due", "start/bad-prompt/empty", _closes_at_an_error),
    Fault("tells another seed", "start/everything-stated", _another_seed),
    Fault("echoes another number", "pings/echo/7", _another_echo),
    Fault("is busy without a time", "streams/busy", _busy_without_a_time),
    Fault("ignores cancel", "cancel/own-picture", requests=_ignores_cancel),
    Fault(
        "ignores what is malformed",
        "malformed/malformed/tag-31",
        requests=_ignores_what_is_malformed,
    ),
    Fault("takes text", "malformed/text/json", requests=_takes_text),
    Fault("forgets its pictures", "recovery/resume-as-viewer", requests=_forgets_pictures),
    Fault(
        "draws a picture twice", "watch/start-repeated/after-its-end", requests=_keys_name_nothing
    ),
)


@asynccontextmanager
async def wrong_server(url: str, fault: Fault) -> AsyncIterator[str]:
    """The URL of a relay to the server at ``url``, with a fault."""

    async def handle(client: ServerConnection) -> None:
        async with connect(
            url,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            proxy=None,
        ) as server:
            both = (
                asyncio.create_task(_up(client, server, fault)),
                asyncio.create_task(_down(client, server, fault)),
            )
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async with serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        compression=None,
        close_timeout=1,
    ) as relay:
        yield f"ws://127.0.0.1:{next(iter(relay.sockets)).getsockname()[1]}"


async def _up(client: ServerConnection, server: ClientConnection, fault: Fault) -> None:
    with suppress(ConnectionClosed):
        async for frame in client:
            try:
                message = decode_client(frame, 2**20) if isinstance(frame, bytes) else None
            except MalformedFrame:
                message = None
            for each in fault.requests(message, frame):
                await server.send(each)


async def _down(client: ServerConnection, server: ClientConnection, fault: Fault) -> None:
    try:
        while True:
            frame = await server.recv()
            assert isinstance(frame, bytes)
            for each in fault.answers(decode_server(frame), frame):
                await client.send(each)
    except ConnectionClosed as closed:
        if closed.rcvd is not None:
            await client.close(closed.rcvd.code, closed.rcvd.reason)
    except Close as close:
        await client.close(close.args[0])
