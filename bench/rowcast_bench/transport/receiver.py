"""The viewer's side of every way: asks for pictures, and notes when their rows are pixels.

It lives in a process of its own, of which the CPU time is what looking costs. A connection is
open, and decoders are loaded from the cache, before the first picture is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from rowcast.aio import AsyncClient
from rowcast.errors import ConnectionFailed
from rowcast.events import RowsArrived
from websockets.asyncio.client import connect as open_socket

from .ways import POLL_SECONDS, SETTINGS, Way, decoded

TRIES: Final = 8  # to connect: packets of handshakes are lost as well
LOAD_SECONDS: Final = 60.0
FRAME_HEADS: Final = ((125, 2), (65_535, 4), (2**63, 10))  # RFC 6455, section 5.2


@dataclass
class Viewed:
    """A picture as it was seen: times are of time.monotonic, ``shown`` (rows held, time, bytes)."""

    asked: float
    first: float = 0.0  # when any row was visible
    shown: list[tuple[int, float, int]] = field(default_factory=list)
    done: float = 0.0
    payload: int = 0  # bytes received, with frames' headers, without those of HTTP

    def show(self, held: int, size: int = 0) -> None:
        """So many rows are pixels now, of so many bytes."""
        now = time.monotonic()
        self.first = self.first or now
        self.done = now
        self.shown.append((held, now, size))
        self.payload += size


See = Callable[[int], Awaitable[Viewed]]


class Receiver:
    """A viewer, for `Worker`. ``cache`` has the files of all galleries."""

    def __init__(self, cache: Path, addresses: dict[str, str]) -> None:
        self._cache = cache
        self._addresses = addresses

    def view(
        self, gallery: str, way: Way, rows: int, pictures: list[int]
    ) -> tuple[list[Viewed], float]:
        """See pictures one after another, and the CPU seconds that this took."""
        return asyncio.run(self._view(gallery, way, rows, pictures))

    async def _view(
        self, gallery: str, way: Way, rows: int, pictures: list[int]
    ) -> tuple[list[Viewed], float]:
        ways = {"tokens": self._tokens, "websocket": self._websocket}
        others = {"sse": self._events, "poll": self._poll}
        async with (ways | others)[way.protocol](gallery, way, rows) as see:
            cpu = time.process_time()
            seen = [await see(index) for index in pictures]
            return seen, time.process_time() - cpu

    @asynccontextmanager
    async def _tokens(self, gallery: str, way: Way, rows: int) -> AsyncIterator[See]:
        url = self._addresses[gallery]
        async with await _client(url, self._cache, way.tier) as client:

            async def see(index: int) -> Viewed:
                viewed, before = Viewed(time.monotonic()), client.bytes_received
                told = 0
                async for event in client.generate("a picture", seed=index):
                    if isinstance(event, RowsArrived):
                        told = event.first_row + len(event.rows)
                    if event.image is None:
                        continue
                    viewed.show(told)
                viewed.payload = client.bytes_received - before
                return viewed

            yield see

    @asynccontextmanager
    async def _websocket(self, gallery: str, way: Way, rows: int) -> AsyncIterator[See]:
        socket = await _again(
            lambda: open_socket(self._addresses["websocket"], open_timeout=20, ping_interval=None)
        )

        async def see(index: int) -> Viewed:
            viewed = Viewed(time.monotonic())
            await socket.send(str(index))
            held = 0
            while held < rows:
                frame = await socket.recv()
                assert isinstance(frame, bytes)
                held = frame[0]
                decoded(frame[1:])
                viewed.show(held, len(frame) + _head(len(frame)))
            return viewed

        async with socket:
            yield see

    @asynccontextmanager
    async def _http(self, address: str) -> AsyncIterator[httpx.AsyncClient]:
        """An open connection, which is kept."""
        async with httpx.AsyncClient(base_url=address, timeout=120.0, trust_env=False) as client:
            await _again(lambda: client.get("/"))
            yield client

    @asynccontextmanager
    async def _events(self, gallery: str, way: Way, rows: int) -> AsyncIterator[See]:
        address = self._addresses.get(f"{gallery} images", self._addresses["http"])
        async with self._http(address) as client:

            async def see(index: int) -> Viewed:
                viewed = Viewed(time.monotonic())
                asked = {"prompt": "a picture", "seed": index, "stream": True, "partial_images": 3}
                asked |= {
                    "output_format": "jpeg",
                    "output_compression": SETTINGS["JPEG"]["quality"],
                }
                target = "/v1/images/generations"
                async with client.stream("POST", target, json=asked) as response:
                    async for line in response.aiter_lines():
                        if not line.startswith("data: "):
                            continue
                        told = json.loads(line[6:])
                        decoded(base64.b64decode(told["b64_json"]))
                        frames = told.get("partial_image_index", way.frames - 1) + 1
                        size = len(line) + len(told["type"]) + len("event: \n\n\n")
                        viewed.show(frames * rows // way.frames, size)
                    viewed.payload = response.num_bytes_downloaded
                return viewed

            yield see

    @asynccontextmanager
    async def _poll(self, gallery: str, way: Way, rows: int) -> AsyncIterator[See]:
        async with self._http(self._addresses["http"]) as client:

            async def see(index: int) -> Viewed:
                viewed, held = Viewed(time.monotonic()), 0
                begun = await client.post("/pictures", json={"seed": index})
                target = f"/pictures/{begun.json()['number']}"
                while held < rows:
                    await asyncio.sleep(POLL_SECONDS)
                    response = await client.get(target, params={"held": held})
                    if response.status_code == 200:
                        decoded(response.content)
                        held = int(response.headers["x-rows"])
                        viewed.show(held, len(response.content))
                return viewed

            yield see


async def _client(url: str, cache: Path, tier: str) -> AsyncClient:
    """A client, not entered yet, whose tiers are loaded once it is."""

    class Loaded(AsyncClient):
        async def __aenter__(self) -> Any:
            for tries_left in reversed(range(TRIES)):
                try:
                    client = await super().__aenter__()
                    break
                except ConnectionFailed:
                    if not tries_left:
                        raise
            until = time.monotonic() + LOAD_SECONDS
            while not any(each.startswith(tier) for each in self.tiers):
                if time.monotonic() > until:
                    raise TimeoutError(f"the {tier} was not loaded in {LOAD_SECONDS:.0f} s")
                await asyncio.sleep(0.01)
            return client

    return Loaded(url, cache=cache, quality=tier, open_timeout=20)


async def _again(connect: Callable[[], Awaitable[Any]]) -> Any:
    """What connecting gives, tried some times."""
    for tries_left in reversed(range(TRIES)):
        try:
            return await connect()
        except (OSError, TimeoutError, httpx.TransportError):
            if not tries_left:
                raise
    raise AssertionError


def _head(length: int) -> int:
    """Bytes of a WebSocket frame's header from a server."""
    return next(size for most, size in FRAME_HEADS if length <= most)
