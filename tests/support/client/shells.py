"""Both clients with one face, so that one test proves both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

import rowcast
from rowcast.aio import AsyncClient
from rowcast.events import Event, PictureDone
from rowcast.picture import Picture
from rowcast.pixels.tiers import Decoder
from rowcast.session import ClientSession
from rowcast.sync import SyncClient

T = TypeVar("T")

WAIT_SECONDS = 30


class AsyncShell:
    """The asynchronous client as if it were the synchronous one; its loop runs in a thread."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._make: Callable[[], AsyncClient] = lambda: rowcast.connect(url, **options)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.client = self._wait(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._wait(self.client.__aexit__(kind, error, trace))
        finally:
            self._stop()

    @property
    def session(self) -> ClientSession:
        return self.client.session

    @property
    def bytes_received(self) -> int:
        return self.client.bytes_received

    @property
    def detokenizer(self) -> Decoder | None:
        return self.client.detokenizer

    @property
    def tiers(self) -> tuple[str, ...]:
        return self.client.tiers

    def generate(self, prompt: str, images: int = 1, **options: Any) -> Generator[Event]:
        return self._iterate(lambda: self.client.generate(prompt, images, **options))

    def continue_picture(
        self, picture: Picture, row: int | None = None, **options: Any
    ) -> Generator[Event]:
        return self._iterate(lambda: self.client.continue_picture(picture, row, **options))

    def watch(
        self, view_key: bytes, images: int = 1, *, seamless: bool = False
    ) -> Generator[Event]:
        return self._iterate(lambda: self.client.watch(view_key, images, seamless=seamless))

    def pictures(self, prompt: str, images: int = 1, **options: Any) -> list[PictureDone]:
        return self._wait(self.client.pictures(prompt, images, **options))

    async def _open(self) -> AsyncClient:
        return await self._make().__aenter__()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

    def _iterate(self, begin: Callable[[], AsyncGenerator[Event]]) -> Generator[Event]:
        async def first() -> AsyncGenerator[Event]:
            return begin()

        async def step() -> Event:
            return await anext(events)

        events = self._wait(first())
        try:
            while True:
                try:
                    event = self._wait(step())
                except StopAsyncIteration:
                    return
                yield event
        finally:
            if not self._loop.is_closed():
                self._wait(events.aclose())

    def _stop(self) -> None:
        async def end() -> None:
            await self._loop.shutdown_asyncgens()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not others, f"left behind: {others}"
            await self._loop.shutdown_default_executor()

        try:
            self._wait(end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_SECONDS)
            self._loop.close()


Client = SyncClient | AsyncShell
Connect = Callable[..., Client]
SHELLS: dict[str, Connect] = {"sync": rowcast.connect_sync, "async": AsyncShell}
