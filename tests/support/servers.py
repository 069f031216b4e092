"""Real servers on free ports, in a thread of their own, so that sync and async tests share them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rowcast_server.config import ServerConfig
from rowcast_server.models.loading import load
from rowcast_server.runners import make_runner
from rowcast_server.server import RowcastServer, RunnerFactory

MANY = 100_000
TEST_CONFIG = ServerConfig(  # all tests are one client, and quicker than people
    port=0,
    slots=4,
    threads=1,
    queue_limit=64,
    address_connections=MANY,
    starts_per_minute=MANY,
    failures_per_minute=MANY,
)


@contextmanager
def running_server(
    model: Path | str, make_runner: RunnerFactory = make_runner, **settings: Any
) -> Iterator[RowcastServer]:
    """A server that takes jobs; ``settings`` replace those of TEST_CONFIG. Where
    $ROWCAST_TEST_ENGINES is ray, a replica of a Ray cluster draws."""
    loaded, config = load(str(model)), replace(TEST_CONFIG, **settings)
    with ExitStack() as stack:
        engines = None
        if os.environ.get("ROWCAST_TEST_ENGINES") == "ray":
            from .clustered.ray_engines import ray_engines

            engines = stack.enter_context(ray_engines(loaded, str(model), config, make_runner))
        yield stack.enter_context(
            _serving(RowcastServer(loaded, config, make_runner, engines=engines))
        )


@contextmanager
def _serving(server: RowcastServer) -> Iterator[RowcastServer]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
