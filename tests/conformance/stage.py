"""The kit's own server, to which a client under test connects, and the adapter of that client."""

from __future__ import annotations

import asyncio
import http
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from . import frames, values
from .frames import SUBPROTOCOL, Broken
from .lines import Process
from .streams import ClientRules
from .world import FILES, file_of


class Listener(Protocol):
    def take_event(self, event: dict[str, Any]) -> None: ...


class Link:
    """One connection of the client: its frames, in order; pings are answered at once."""

    def __init__(self, socket: ServerConnection, news: asyncio.Event) -> None:
        self._socket, self._news = socket, news
        self.rules = ClientRules()
        self.inbox: deque[dict[str, Any]] = deque()
        self.broken: Broken | None = None
        self.closed: int | None = None

    @property
    def has_news(self) -> bool:
        """True if there is a frame, or there will be none any more."""
        return bool(self.inbox or self.broken) or self.closed is not None

    async def read(self) -> None:
        """Take frames until the connection is closed."""
        try:
            while True:
                data = await self._socket.recv()
                if self.broken is None:
                    await self._take(data)
                self._news.set()
        except ConnectionClosed as closed:
            self.closed = closed.rcvd.code if closed.rcvd else 1006
        self._news.set()

    async def _take(self, data: bytes | str) -> None:
        try:
            message = self.rules.take(data)
        except Broken as broken:
            self.broken = broken
            return
        if message and message["message"] == "ping":
            await self.send(frames.write_frame("pong", {"echo": message["echo"]}))
        elif message:
            self.inbox.append(message)

    async def send(self, data: bytes | str) -> None:
        with suppress(ConnectionClosed):  # whoever waits for a frame is told
            await self._socket.send(data)

    def write(self, data: bytes) -> None:
        """Send bytes past the WebSocket, which are no frame of it."""
        self._socket.transport.write(data)

    async def close(self, code: int) -> None:
        await self._socket.close(code)

    def drop(self) -> None:
        self._socket.transport.abort()


class Visit:
    """A handshake of the client, before it is answered."""

    def __init__(self, socket: ServerConnection, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[int] = loop.create_future()
        self._opened: asyncio.Future[Link] = loop.create_future()
        self.told = {"path": request.path, "headers": str(request.headers)}
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        self.offered = [each.strip() for each in offered.split(",")]
        self.chooses = True
        self._news: asyncio.Event | None = None
        self._socket = socket

    async def accept(self, chooses: bool, news: asyncio.Event) -> Link:
        self.chooses, self._news = chooses, news
        self._answer.set_result(101)
        return await asyncio.wait_for(asyncio.shield(self._opened), 10)

    def refuse(self, status: int) -> None:
        self._answer.set_result(status)

    async def answered(self) -> int:
        return await self._answer

    async def handle(self) -> None:
        assert self._news is not None
        link = Link(self._socket, self._news)
        self._opened.set_result(link)
        await link.read()

    def leave(self) -> None:
        if not self._answer.done():
            self._answer.set_result(503)


class Stage:
    """The kit's server; each exchange has an address of its own there."""

    def __init__(self, process: Process, names: values.Names) -> None:
        self._process, self.names = process, names
        self._numbers, self._tasks = count(1), dict[int, Listener]()
        self._addresses: dict[str, tuple[list[Visit], asyncio.Event]] = {}
        self._closed: set[str] = set()
        self._fetched: list[str] = []  # the hosts from which files were fetched
        self.port = 0
        process.take = self._take

    @property
    def ended(self) -> str:
        """The reason why nothing more comes of the adapter; empty while it runs."""
        return self._process.ended

    def address(self) -> tuple[str, list[Visit], asyncio.Event]:
        """A URL, the handshakes that will come there, and what is set when there is news."""
        path = f"/{next(self._numbers)}"
        visits, news = self._addresses[path] = [], asyncio.Event()
        return f"ws://127.0.0.1:{self.port}{path}", visits, news

    def task(self, listener: Listener) -> int:
        """The number of a new task, whose events go to ``listener``."""
        number = next(self._numbers)
        self._tasks[number] = listener
        return number

    def say(self, **line: Any) -> None:
        if not self.ended or line["do"] != "close":
            self._process.write(**line)

    def is_closed(self, url: str) -> bool:
        """True if the adapter said that the client of a URL is closed, or says nothing more."""
        return url in self._closed or bool(self.ended)

    def fetched_from(self, host: str) -> bool:
        """True if a file was ever fetched from this host."""
        return any(each.startswith(host) for each in self._fetched)

    def leave(self, url: str) -> None:
        """Nobody is at this address any more."""
        visits, _ = self._addresses.pop("/" + url.rpartition("/")[2], ([], None))
        for visit in visits:
            visit.leave()

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "closed":
            self._closed.add(event["url"])
        elif event.get("task") in self._tasks:
            self._tasks[event["task"]].take_event(event)
        for _, news in self._addresses.values():
            news.set()

    async def request(self, socket: ServerConnection, request: Request) -> Response | None:
        if request.path in FILES:
            self._fetched.append(request.headers.get("Host", ""))
            headers = Headers({"Content-Length": str(len(FILES[request.path]))})
            return Response(200, "OK", headers, FILES[request.path])
        place = self._addresses.get(request.path)
        if place is None:
            return socket.respond(http.HTTPStatus.NOT_FOUND, "nobody is here\n")
        visits, news = place
        visit = Visit(socket, request)
        socket.visit = visit  # type: ignore[attr-defined]
        visits.append(visit)
        news.set()
        status = await visit.answered()
        return None if status == 101 else socket.respond(status, "not now\n")

    @staticmethod
    def subprotocol(socket: ServerConnection, offered: Any) -> Any:
        chooses = socket.visit.chooses  # type: ignore[attr-defined]
        return SUBPROTOCOL if chooses and SUBPROTOCOL in offered else None

    @staticmethod
    async def handle(socket: ServerConnection) -> None:
        await socket.visit.handle()  # type: ignore[attr-defined]


@asynccontextmanager
async def open_stage(command: str, names: values.Names) -> AsyncIterator[Stage]:
    """The kit's server on a free port, and the adapter, started."""
    async with Process(command) as process:
        names["palette"] = file_of("/files/palette.npy")
        stage = Stage(process, names)
        server = await serve(
            stage.handle,
            "127.0.0.1",
            0,
            process_request=stage.request,
            select_subprotocol=stage.subprotocol,
            compression=None,
            open_timeout=None,
            close_timeout=1,
            ping_interval=None,
            max_size=2**22,
        )
        stage.port = next(iter(server.sockets)).getsockname()[1]
        try:
            yield stage
        finally:
            server.close()
            await server.wait_closed()
