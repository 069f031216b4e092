"""Connections to a server under test: a WebSocket, or one by an adapter's stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .frames import SUBPROTOCOL
from .values import Failed, NotApplicable

LONGEST_LINE: Final = 2**22  # bytes of JSON
START_SECONDS: Final = 60.0  # that an adapter has to say that it is ready


class Closed(Exception):
    """The other side closed: its code; 1006 where it said none, 0 where it admitted nobody."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        super().__init__(f"closed {code}{f' ({reason})' if reason else ''}")


class Line(Protocol):
    """A connection as a script sees it."""

    async def send(self, data: bytes | str) -> None: ...
    async def receive(self) -> bytes | str:
        """The next message. Raises Closed."""

    async def ping(self) -> None:
        """A ping of RFC 6455, and its answer. Raises NotApplicable where there are none."""

    async def close(self, code: int = 1000) -> None: ...
    def drop(self) -> None:
        """End it without a word."""


class Socket:
    """A connection by WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, url: str, offered: list[str], seconds: float) -> Socket:
        """Raises Closed, with code 0 where the handshake was refused with HTTP 400."""
        try:
            socket = await connect(
                url,
                subprotocols=offered or None,  # type: ignore[arg-type]
                compression=None,
                max_size=2**22,
                open_timeout=seconds,
                close_timeout=2,
                ping_interval=None,
                proxy=None,
            )
        except InvalidStatus as error:
            if error.response.status_code == 400:
                raise Closed(0, "HTTP 400") from error
            raise Failed(f"HTTP {error.response.status_code}") from error
        except InvalidHandshake as error:
            raise Failed(f"no WebSocket: {error}") from error
        except (OSError, TimeoutError) as error:
            raise Failed(f"{url} cannot be reached: {error}") from error
        if socket.subprotocol not in (None, SUBPROTOCOL):
            raise Failed(f"the subprotocol chosen is {socket.subprotocol}")
        return cls(socket)

    async def send(self, data: bytes | str) -> None:
        with suppress(ConnectionClosed):  # whoever reads is told
            await self._socket.send(data)

    async def receive(self) -> bytes | str:
        try:
            data: bytes | str = await self._socket.recv()
            return data
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
            raise Closed(code, reason) from None

    async def ping(self) -> None:
        await (await self._socket.ping())

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code)

    def drop(self) -> None:
        self._socket.transport.abort()


class Process:
    """A command that is spoken to by lines of JSON on its stdin and stdout."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.take: Callable[[dict[str, Any]], None] = lambda line: None
        self.ended = ""  # the reason, once it has
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Process:
        self._process = await asyncio.create_subprocess_exec(
            *shlex.split(self.command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        self._reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait_for(self._ready.wait(), START_SECONDS)
        except TimeoutError:
            await self.__aexit__()
            raise Failed(f"the adapter did not say that it is ready: {self.command}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.close()  # which is how it is told to end
            await self._process.stdin.wait_closed()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                self.ended = f"a line of the adapter that is no JSON: {line[:80]!r}"
                continue
            if said.get("event") == "ready":
                self._ready.set()
            else:
                self.take(said)
        self.ended = f"the adapter ended: {self.command}"
        self._ready.set()
        self.take({"event": "ended"})

    def write(self, **line: Any) -> None:
        """Say something to it. Raises Failed once it has ended."""
        assert self._process.stdin is not None
        if self.ended:
            raise Failed(self.ended)
        self._process.stdin.write(json.dumps(line).encode() + b"\n")


class Pipe:
    """A connection to a server whose adapter has no socket."""

    def __init__(self, process: Process, number: int) -> None:
        self._process, self._number = process, number
        self.inbox: asyncio.Queue[bytes | str | Closed] = asyncio.Queue()

    async def send(self, data: bytes | str) -> None:
        said = {"text": data} if isinstance(data, str) else {"binary": data.hex()}
        self._process.write(connection=self._number, **said)

    async def receive(self) -> bytes | str:
        data = await self.inbox.get()
        if isinstance(data, Closed):
            self.inbox.put_nowait(data)  # and ever after
            raise data
        return data

    async def ping(self) -> None:
        raise NotApplicable("an adapter has no pings of RFC 6455")

    async def close(self, code: int = 1000) -> None:
        if not self._process.ended:
            self._process.write(connection=self._number, close=code)

    def drop(self) -> None:
        self._process.write(connection=self._number, close=1006)


class Pipes:
    """The connections of a server's adapter, by their numbers."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._pipes: dict[int, Pipe] = {}
        process.take = self._take

    async def open(self, offered: list[str]) -> Pipe:
        number = len(self._pipes)
        self._pipes[number] = Pipe(self._process, number)
        self._process.write(connection=number, open=offered)
        return self._pipes[number]

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("event") == "ended":
            for pipe in self._pipes.values():
                pipe.inbox.put_nowait(Closed(1006, self._process.ended))
            return
        inbox = self._pipes[line["connection"]].inbox
        if "close" in line:
            inbox.put_nowait(Closed(line["close"]))
        else:
            inbox.put_nowait(line["text"] if "text" in line else bytes.fromhex(line["binary"]))
