"""The adapter of this repository's Python client: tasks on stdin, events on stdout, as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import tempfile
import threading
from typing import Any

from rowcast.aio import AsyncClient
from rowcast.errors import RequestRefused, RowcastError
from rowcast.events import PictureDone, RowsArrived
from rowcast.pixels.artifacts import fetch


def tell(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Users:
    """The users of the clients: one client for each URL, one task of asyncio for each task."""

    def __init__(self, cache: str) -> None:
        self._cache = cache
        self._clients: dict[str, AsyncClient] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._urls: dict[int, str] = {}

    async def take(self, line: dict[str, Any]) -> None:
        match line["do"]:
            case "cancel":
                self._tasks[line["task"]].cancel()
            case "close":
                await self._close(line["url"])
            case _:
                task = asyncio.create_task(self._follow(line))
                self._tasks[line["task"]], self._urls[line["task"]] = task, line["url"]

    async def _close(self, url: str) -> None:
        mine = [number for number, at in self._urls.items() if at == url]
        tasks = [self._tasks.pop(number) for number in mine if self._urls.pop(number)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        client = self._clients.pop(url, None)
        if client is not None:
            await client.__aexit__()
        tell("closed", url=url)

    async def _client(self, line: dict[str, Any]) -> AsyncClient:
        url = line["url"]
        async with self._locks.setdefault(url, asyncio.Lock()):
            if url not in self._clients:
                client = AsyncClient(
                    url, token=line["token"], decode=False, reconnect=line["patience_ms"] / 1000
                )
                self._clients[url] = await client.__aenter__()
            return self._clients[url]

    async def _follow(self, line: dict[str, Any]) -> None:
        number = line["task"]
        try:
            client = await self._client(line)
            if line["do"] == "fetch":
                await self._fetch(client, line)
                return
            if line["do"] == "watch":
                events = client.watch(bytes.fromhex(line["view_key"]), line["images"])
            else:
                options = dict(line["options"])
                for name in options.keys() & {"prefix", "revision"}:
                    options[name] = bytes.fromhex(options[name])
                events = client.generate(line["prompt"], line["images"], **options)
            try:
                async for event in events:
                    match event:
                        case RowsArrived():
                            ids = event.picture.held_bytes
                            first = event.first_row * len(ids) // event.picture.rows_held
                            tell(
                                "rows",
                                task=number,
                                index=event.index,
                                first_row=event.first_row,
                                ids=ids[first:].hex(),
                            )
                        case PictureDone():
                            rows, reason = event.picture.rows_held, int(event.reason)
                            tell("done", task=number, index=event.index, rows=rows, reason=reason)
            finally:
                await events.aclose()
        except RowcastError as error:
            code = error.code if isinstance(error, RequestRefused) else None
            tell("failed", task=number, code=code, text=str(error))

    async def _fetch(self, client: AsyncClient, line: dict[str, Any]) -> None:
        (file,) = (each for each in client.session.model().files if each.kind == line["kind"])
        path = await asyncio.to_thread(fetch, file, line["url"], cache=self._cache)
        tell("file", task=line["task"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())


async def main() -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    logging.disable(logging.WARNING)  # of links that were lost, on purpose
    with tempfile.TemporaryDirectory() as cache:
        users = Users(cache)
        tell("ready")
        while line := await lines.get():
            await users.take(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
