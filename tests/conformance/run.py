"""Running exchanges: all of one side, one after the other, and those that only wait beside them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .client_side import ClientPlayer
from .lines import Line, Pipes, Process, Socket
from .play import PATIENCE_SECONDS, Player, Result
from .scripts import Exchange
from .server_side import Server, ServerPlayer, survey
from .stage import open_stage
from .values import Failed

Told = Callable[[Result], None]


@dataclass(frozen=True)
class Settings:
    """What the user says of an implementation."""

    url: str | None = None  # of a server; None: it is reached by its adapter
    adapter: str | None = None  # a command
    token: str | None = None
    prompt: str | None = None
    unreadable: str | None = None  # a prompt of which the model can read nothing
    stop: Callable[[], Awaitable[None]] | None = None  # tells the server to stop
    crowd: int = 24  # pictures at once, to fill a queue
    page: bool = False  # a client's WebSocket is a browser's, which is not told everything
    strict: bool = True  # it passes vectors that ask for more than a common library gives
    patience: float = PATIENCE_SECONDS
    jobs: int = 0  # exchanges at once; 0: one with a server, eight with a client


async def run_all(
    exchanges: list[Exchange], player: Callable[[Exchange], Player], tell: Told, jobs: int
) -> list[Result]:
    """The results, in the order of the exchanges, of which ``jobs`` run at once; ``tell`` is called
    with each as it comes."""
    results: dict[str, Result] = {}
    places = asyncio.Semaphore(jobs)

    async def play(exchange: Exchange) -> None:
        results[exchange.name] = await player(exchange).play()
        tell(results[exchange.name])

    async def in_place(exchange: Exchange) -> None:
        async with places:
            await play(exchange)

    alone = [each for each in exchanges if each.alone or each.last]
    beside = [play(each) for each in exchanges if each.alongside]
    others = [in_place(each) for each in exchanges if not each.alongside and each not in alone]
    await asyncio.gather(*beside, *others)
    for exchange in alone:
        await play(exchange)
    return [results[exchange.name] for exchange in exchanges]


async def run_server(exchanges: list[Exchange], settings: Settings, tell: Told) -> list[Result]:
    """Exchanges with a server. Raises Failed where not even one picture can be had of it."""
    async with opened(settings) as open_line:
        names = {
            "by_socket": settings.url is not None,
            "can_stop": settings.stop is not None,
            "crowd": settings.crowd,
            "prompt": settings.prompt,
            "strict": settings.strict,
            "unreadable": settings.unreadable,
        }
        server = Server(open_line, settings.url or "", names, settings.stop)
        await survey(server, settings.token, settings.patience)
        return await run_all(
            exchanges,
            lambda each: ServerPlayer(each, server, settings.patience),
            tell,
            settings.jobs or 1,
        )


async def run_client(exchanges: list[Exchange], settings: Settings, tell: Told) -> list[Result]:
    """Exchanges with a client. Raises Failed where there is no adapter of it."""
    if settings.adapter is None:
        raise Failed("a client is driven by its adapter: --adapter COMMAND")
    names = {"page": settings.page, "strict": settings.strict}
    async with open_stage(settings.adapter, names) as stage:
        return await run_all(
            exchanges,
            lambda each: ClientPlayer(each, stage, settings.patience),
            tell,
            settings.jobs or 8,
        )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Callable[[list[str]], Awaitable[Line]]]:
    """A function that opens a connection to the server under test."""
    if settings.url is not None:
        url = settings.url

        async def by_socket(offered: list[str]) -> Line:
            return await Socket.open(url, offered, settings.patience)

        yield by_socket
        return
    if settings.adapter is None:
        raise Failed("a server is reached by its URL, or by --adapter")
    async with Process(settings.adapter) as process:
        yield Pipes(process).open


def stopper(command: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """A function that runs a command by which a server is told to stop."""

    async def stop() -> None:
        process = await asyncio.create_subprocess_exec(*shlex.split(command))
        if await process.wait():
            raise Failed(f"the command of --stop failed: {command}")

    return stop
