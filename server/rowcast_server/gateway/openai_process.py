"""The process that answers OpenAI's image API for a server: `rowcast openai`, a client like any.

It decodes, so that the server does not, and it ends with the server however that ends: then its
standard input does. One that dies is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from rowcast.errors import RowcastError

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 1.0


class OpenaiProcess:
    """The gateway before the server at ``server_url``, listening at ``host`` and ``port`` (0: any).

    It fetches detokenizer files from ``file_hosts`` too, and pages of ``origins`` may call it.
    """

    def __init__(
        self,
        server_url: str,
        host: str,
        port: int,
        file_hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
    ) -> None:
        self._words = [server_url, "--host", host, "--stop-at-eof"]
        self._words += [word for each in file_hosts for word in ("--allow-host", each)]
        self._words += [word for each in origins for word in ("--allow-origin", each)]
        self._port = port
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it; returns once it answers at ``url``. Raises RowcastError where it does not."""
        self._process = await self._started()
        self._watching = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """End it."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._process is not None:
            await _ended(self._process)

    async def _started(self) -> Process:
        command = [sys.executable, "-m", "rowcast", "openai", *self._words]
        process = await asyncio.create_subprocess_exec(
            *command, "--port", str(self._port), stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if not line.startswith("ready "):
            await _ended(process)
            raise RowcastError(f"--openai {self._port}: `rowcast openai` did not start")
        self.url = line.split()[1]
        self._port = urlsplit(self.url).port or self._port
        return process

    async def _keep_up(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            logger.warning("the process of --openai has ended with %d; starting another", code)
            await asyncio.sleep(AGAIN_SECONDS)
            with contextlib.suppress(RowcastError):  # it told why; the next may do better
                self._process = await self._started()


async def _ended(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
