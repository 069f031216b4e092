"""Exchanges with a server under test: the kit is its clients."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from . import frames, values
from .frames import SUBPROTOCOL, Broken
from .lines import Closed, Line
from .play import Player, Shown, message_of
from .scripts import Exchange
from .streams import ServerRules
from .values import Failed, NotApplicable

MAIN: Final = "main"  # the connection of a step that names none

Opener = Callable[[list[str]], Awaitable[Line]]


class Connection:
    """One connection to the server: frames that came, by stream; None is for all others."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.rules = ServerRules()
        self.inbox: dict[int | None, deque[dict[str, Any]]] = defaultdict(deque)
        self.news = asyncio.Event()
        self.closed: Closed | None = None
        self.broken: Broken | None = None
        self.count = 0  # frames that came
        self._reader = asyncio.create_task(self._read())

    @property
    def is_over(self) -> bool:
        """True if no frame comes any more that is to be read."""
        return bool(self.closed or self.broken)

    async def _read(self) -> None:
        try:
            while True:
                data = await self.line.receive()
                self.count += 1
                message = self.rules.take(data, time.monotonic())
                if message and message["message"] == "ping":
                    await self.line.send(frames.write_frame("pong", {"echo": message["echo"]}))
                elif message:
                    self.inbox[message.get("stream")].append(message)
                self.news.set()
        except Closed as closed:
            self.closed = closed
        except Broken as broken:
            self.broken = broken
        self.news.set()

    async def end(self) -> None:
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader


@dataclass
class Server:
    """The server under test, and what is known of it."""

    open: Opener
    url: str  # of its WebSocket; empty where it has none
    names: values.Names
    stop: Callable[[], Awaitable[None]] | None = None


class ServerPlayer(Player):
    """Plays an exchange with a server. Steps that name no connection, by ``on``, are of one."""

    def __init__(self, exchange: Exchange, server: Server, patience: float) -> None:
        super().__init__(exchange, server.names, patience)
        self._server = server
        self._connections: dict[str, Connection] = {}
        self.names["held"] = lambda stream, on=MAIN: (
            self._connections[on].rules.streams[stream].rows
        )
        self.names["ids"] = lambda stream, on=MAIN: bytes(
            self._connections[on].rules.streams[stream].held
        )

    def settle(self) -> None:
        for connection in self._connections.values():
            if connection.broken:
                raise connection.broken

    async def clean_up(self) -> None:
        for connection in self._connections.values():
            if connection.closed is None:
                await self._leave(connection)
            await connection.end()
        self._connections.clear()

    async def _leave(self, connection: Connection) -> None:
        """Cancel what is still drawn, so that the next exchange finds the server idle."""
        own = [stream for stream in connection.rules.open if stream.start is not None]
        for stream in own:
            frame = frames.write_frame("cancel", {"stream": stream.number})
            await connection.line.send(frame)
        if own and connection.broken is None:
            with suppress(Failed):
                await self.until(
                    connection.news,
                    lambda: connection.is_over or all(stream.ended for stream in own),
                    "",
                    1.0,
                )
        await connection.line.close()

    async def _on(self, step: dict[str, Any]) -> Connection:
        name = step.pop("on", MAIN)
        if name not in self._connections:
            await self._opened(name, [SUBPROTOCOL])
        return self._connections[name]

    async def _opened(self, name: str, offered: list[str]) -> None:
        self._connections[name] = Connection(await self._server.open(offered))

    # Steps

    async def do_open(self, step: dict[str, Any]) -> None:
        """``open``: the subprotocols to offer; ``refused``: an HTTP 400 is an answer too."""
        try:
            await self._opened(step.get("on", MAIN), self.value(step["open"]))
        except Closed:
            if not step.get("refused"):
                raise Failed("the handshake was refused with HTTP 400") from None
            raise Shown from None

    async def do_greet(self, step: dict[str, Any]) -> None:
        """``greet``: hello and welcome, on the connections named."""
        for name in step["greet"] or [MAIN]:
            hello = {"send": "hello", "token": self.names["token"], "client": "conformance"}
            await self.do_send({**hello, "on": name})
            await self.do_expect({"expect": "welcome", "on": name})

    async def do_send(self, step: dict[str, Any]) -> None:
        """``send``: a message and its fields; ``extra`` elements after them.

        ``repeat`` sends it so many times, with ``i`` from 0. ``holding``: the ids that a `watch`
        goes on from, which tell its ``rows_held`` and ``crc32``.
        """
        connection = await self._on(step)
        kind, extra = step.pop("send"), step.pop("extra", None)
        holding = self.value(step.pop("holding", b""))
        for index in range(self.value(step.pop("repeat", 1))):
            self.names["i"] = index
            fields = self.value(step)
            if kind == "watch" and holding:
                rows = len(holding) // self.names["row_bytes"]
                fields |= {"rows_held": rows, "crc32": frames.crc32(holding)}
            await self._send(
                connection, frames.write_frame(kind, fields, self.value(extra)), holding
            )

    async def _send(self, connection: Connection, data: bytes | str, holding: bytes = b"") -> None:
        message = None if isinstance(data, str) else message_of(frames.CLIENT, data)
        if message is not None:
            connection.rules.sent(message, holding)
        await connection.line.send(data)

    async def do_send_raw(self, step: dict[str, Any]) -> None:
        """``send_raw``: an array; ``send_frame``: bytes; ``send_text``; ``send_bytes``: zeros."""
        connection = await self._on(step)
        data = self.packed(step)
        assert data is not None
        await self._send(connection, data)

    do_send_frame = do_send_bytes = do_send_text = do_send_raw

    async def _next(self, connection: Connection, stream: int | None, what: str) -> dict[str, Any]:
        inbox = connection.inbox[stream]
        await self.until(
            connection.news, lambda: bool(inbox) or connection.is_over, f"{what} did not come"
        )
        if inbox:
            return inbox.popleft()
        if connection.broken:
            raise connection.broken
        raise Failed(f"{what} did not come: {connection.closed}")

    async def do_expect(self, step: dict[str, Any]) -> None:
        """``expect``: the next message of a stream, or of none, and its fields.

        ``queued`` is passed over, and so are ``rows`` before ``done``. ``rows`` with ``until`` is
        any number of frames, up to so many rows.
        """
        connection = await self._on(step)
        kind, until = step.pop("expect"), self.value(step.pop("until", None))
        stream = self.value(step["stream"]) if "stream" in step else None
        passed = {"rows": ("queued",), "done": ("queued", "rows"), "error": ("queued", "rows")}
        while True:
            message = await self._next(connection, stream, kind)
            if message["message"] in passed.get(kind, ()) and kind != message["message"]:
                continue
            wanted = {**step, "stream": stream} if "stream" in step else step
            values.check(message, kind, wanted, self.names)
            if until is not None:
                first = message["first_row"] + len(message["ids"]) // self.names["row_bytes"]
                if first < until:
                    continue
            self.names["got"] = values.record(message)
            return

    async def do_expect_close(self, step: dict[str, Any]) -> None:
        """``expect_close``: the codes that the server may close with; ``silent``: sends nothing."""
        connection = await self._on(step)
        wanted = self.value(step["expect_close"])
        seconds = step.get("within", 0)
        what = f"no close {' or '.join(map(str, wanted))}"
        await self.until(connection.news, lambda: connection.is_over, what, seconds)
        if connection.broken:
            raise connection.broken
        assert connection.closed is not None
        if connection.closed.code not in wanted:
            raise Failed(f"{connection.closed}, not {' or '.join(map(str, wanted))}")
        if step.get("silent") and connection.count:
            raise Failed("the server sent something before it closed")

    async def do_alive(self, step: dict[str, Any]) -> None:
        """``alive``: the connection goes on: a ping is answered, after what came before."""
        connection = await self._on(step)
        await self._send(connection, frames.write_frame("ping", {"echo": 4_294_967_295}))
        while True:
            message = await self._next(connection, None, "pong")
            if message == {"message": "pong", "echo": 4_294_967_295}:
                return

    async def do_silent(self, step: dict[str, Any]) -> None:
        """``silent``: for so many seconds nothing comes on ``stream``."""
        connection = await self._on(step)
        await asyncio.sleep(step["silent"])
        inbox = connection.inbox[step.get("stream")]
        if inbox:
            raise Failed(f"{values.told(inbox[0])} came, where nothing was to come")

    async def do_ping(self, step: dict[str, Any]) -> None:
        """``ping``: a ping of RFC 6455 is answered."""
        connection = await self._on(step)
        try:
            await asyncio.wait_for(connection.line.ping(), self.patience)
        except TimeoutError:
            raise Failed("a ping of RFC 6455 was not answered") from None

    async def do_drop(self, step: dict[str, Any]) -> None:
        """``drop``: the link breaks, without a close."""
        connection = self._connections.pop(step.get("on", MAIN))
        connection.line.drop()
        await connection.end()

    async def do_fill(self, step: dict[str, Any]) -> None:
        """``fill``: pictures are started from ``stream`` on until one is `queued`, or `busy`.

        ``got`` is then its frame, ``got_key`` its key. It is tried again where the exchange before
        left the queue full; where that never happens, the exchange is not applicable.
        """
        connection = await self._on(step)
        first, most = step.get("stream", 0), min(self.names["crowd"], self.names["limits"].streams)
        free, end = list(range(first, first + most)), time.monotonic() + self.patience
        while free and time.monotonic() < end:
            keys = {stream: values.fresh()["key"] for stream in free}
            for stream, key in keys.items():
                start = {"stream": stream, "key": key, "prompt": self.names["prompt"], "images": 1}
                await self._send(connection, frames.write_frame("start", start))
            for stream in keys:
                message = await self._next(connection, stream, "accepted")
                is_busy = message.get("code") == "busy"
                if is_busy if step["fill"] == "busy" else message.get("position"):
                    self.names |= {"got": values.record(message), "got_key": keys[stream]}
                    return
                free = free if is_busy else [each for each in free if each != stream]
            await asyncio.sleep(0.1)
        raise NotApplicable(f"{most} pictures did not make it {step['fill']} (--crowd)")

    async def do_stop(self, step: dict[str, Any]) -> None:
        """``stop``: the server is told to stop, by its operator's command."""
        assert self._server.stop is not None
        await self._server.stop()

    async def do_fetch(self, step: dict[str, Any]) -> None:
        """``fetch``: a file's URL, by ``method``, with ``headers``; binds `status`, `body` and
        `headers`."""
        url = urljoin("http" + self._server.url.removeprefix("ws"), self.value(step["fetch"]))
        method, headers = step.get("method", "GET"), self.value(step.get("headers", {}))
        answer = await asyncio.to_thread(_asked, method, url, headers, self.patience)
        self.names |= dict(zip(("status", "body", "headers"), answer, strict=True))


def _asked(
    method: str, url: str, headers: dict[str, str], seconds: float
) -> tuple[int, bytes, dict[str, str]]:
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.netloc, timeout=seconds)
    try:
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        return response.status, response.read(), told
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{url} cannot be fetched: {error}") from error
    finally:
        connection.close()


async def survey(server: Server, token: str | None, patience: float) -> None:
    """Learn what every exchange may ask for: limits, the model, how long a picture takes."""
    names = server.names
    names |= {"token": token, "unhurried": False}
    steps: list[dict[str, Any]] = [
        {"greet": []},
        {"send": "start", "stream": 0, "key": "=key", "prompt": "=prompt", "images": 1},
        {"expect": "accepted", "stream": 0},
        {"mark": "begun"},
        {"expect": "rows", "stream": 0, "until": 1},
        {"mark": "first"},
        {"expect": "done", "stream": 0},
    ]
    player = ServerPlayer(Exchange("survey", "", "", (), steps), server, patience)
    try:
        await player.steps(steps[:1])
        (connection,) = player._connections.values()
        welcome = values.record(connection.rules.welcome)
        model = welcome.models[0]
        names |= {"limits": welcome.limits, "model": model, "welcome": welcome}
        names |= {"rows": model.rows, "cols": model.cols}
        names["row_bytes"] = model.cols * model.id_bytes
        if not names.get("prompt"):
            names["prompt"] = (*model.examples, "a red boat")[0]
        player.names |= names
        await player.steps(steps[1:])
        drawn = player.names["since"]("first")
        names["unhurried"] = model.rows > 1 and drawn >= 0.04
        names["picture_seconds"] = player.names["since"]("begun")
    except Broken as broken:
        raise Failed(f"{broken.rule}: {broken}") from broken
    finally:
        await player.clean_up()
