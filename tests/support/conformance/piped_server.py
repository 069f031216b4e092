"""A server's adapter: our session over a drawer that draws at a pace, on stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from functools import partial
from typing import Any, Final

from msgspec.structs import replace
from rowcast.messages import Welcome
from rowcast_server.errors import CloseConnection
from rowcast_server.session import ServerSession

from tests.support.fakes import LIMITS, MODEL, Studio

ROW_SECONDS: Final = 0.03
HELLO_SECONDS: Final = 3.0


class Pipes:
    """Connections by their numbers, each with a session."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        welcome = Welcome(replace(LIMITS, keep_ms=60_000), [MODEL])
        self._studio = Studio(loop=self._loop, welcome=welcome, capacity=8)
        self._sessions: dict[int, ServerSession] = {}

    def take(self, line: dict[str, Any]) -> None:
        number = line["connection"]
        if "open" in line:
            if "rowcast.v1" not in line["open"]:
                self._say(number, close=4406)
                return
            self._sessions[number] = self._studio.session(partial(self._wake, number))
            self._loop.call_later(HELLO_SECONDS, self._no_hello, number)
        elif "close" in line:
            self._end(number)
        elif number in self._sessions:
            data = line["text"] if "text" in line else bytes.fromhex(line["binary"])
            try:
                self._sessions[number].receive(data)
            except CloseConnection as close:
                self._send(number)
                self._end(number)
                self._say(number, close=int(close.code))

    def _wake(self, number: int) -> None:
        self._loop.call_soon(self._send, number)

    def _no_hello(self, number: int) -> None:
        if number in self._sessions and self._sessions[number].grant is None:
            self._end(number)
            self._say(number, close=4408)

    def _end(self, number: int) -> None:
        if number in self._sessions:
            self._sessions.pop(number).close()

    def _send(self, number: int) -> None:
        if number in self._sessions:
            for frame in self._sessions[number].outgoing(self._loop.time()):
                self._say(number, binary=frame.hex())

    def _say(self, number: int, **said: Any) -> None:
        print(json.dumps({"connection": number, **said}), flush=True)

    async def draw(self) -> None:
        """Draw a row of every picture, again and again."""
        while True:
            await asyncio.sleep(ROW_SECONDS)
            for number in list(self._studio.drawer.requests):
                self._studio.drawer.draw(number)


async def main() -> None:
    loop = asyncio.get_running_loop()
    pipes, ended = Pipes(), asyncio.Event()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(pipes.take, json.loads(line))
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    print('{"event": "ready"}', flush=True)
    drawing = asyncio.create_task(pipes.draw())
    await ended.wait()
    drawing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
