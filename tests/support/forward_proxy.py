"""A forward proxy as companies have them (RFC 9110 section 9.3.6): tunnels, and whole addresses.

Leads every host to this machine, so that a name which is known to it alone is reached through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class ForwardProxy:
    """``url`` is where it listens; ``asked`` the method and the host of each request."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, str | None]] = []
        self.heads: list[bytes] = []


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def forward_proxy() -> Iterator[ForwardProxy]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(maxsplit=2)
            whole = target.decode() if b"://" in target else f"//{target.decode()}"
            parts = urlsplit(whole)
            made.asked.append((method.decode(), parts.hostname))
            made.heads.append(head)
            there, back = await asyncio.open_connection("127.0.0.1", parts.port)
            if method == b"CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                # To the origin a proxy asks in origin form (RFC 9112 section 3.2.1).
                path = parts._replace(scheme="", netloc="").geturl() or "/"
                back.write(head.replace(target, path.encode(), 1))
            both = [asyncio.create_task(_pump(there, writer)), _reading(reader, back)]
            tasks.update(both)
            await asyncio.wait(both)

    def _reading(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> asyncio.Task[None]:
        return asyncio.create_task(_pump(reader, back))

    async def stop() -> None:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    starting = asyncio.start_server(serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    made = ForwardProxy(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
