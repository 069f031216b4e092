"""From the sampling of a row's last token to its bytes written, while every core is busy.

A whole server in a process of its own, and viewers that only read in another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import numpy as np
import rowcast
from numpy.typing import NDArray
from rowcast.messages import Rows, decode_server
from rowcast_server.config import ServerConfig
from rowcast_server.engine.engine import Engine
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner import PendingRow
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.engine.whole_pictures import draw_together
from rowcast_server.models.loading import load
from rowcast_server.network.facts import Network, Sampling
from rowcast_server.placement import Placement
from rowcast_server.server import RowcastServer

from .sides import PROMPT

JOBS: Final = 16


class _StampedRunner(OnnxRunner):
    """A runner that notes when the last tokens were sampled."""

    def stamp(self) -> None:
        """Begin; what is drawn at loading is nobody's row."""
        self.sampled = 0.0
        self.rows: dict[bytes, float] = {}

    def _sample(
        self,
        slots: NDArray[np.int64],
        logits: NDArray[np.float32],
        positions: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        tokens = super()._sample(slots, logits, positions)
        self.sampled = time.perf_counter()
        return tokens

    def row(self, slot: int, row: int) -> PendingRow:
        pending = super().row(slot, row)
        self.rows[pending.ids().astype("<u2").tobytes()] = self.sampled
        return pending


class StampedServer:
    """A server on any free port, whose rows are timed from sampling to the socket."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._model = load(str(folder))
        self._delays: list[float] = []
        self._runner: _StampedRunner | None = None
        server = RowcastServer(
            self._model,
            ServerConfig(port=0, http_port=0, threads=threads, slots=JOBS, deadline=86_400),
            make_runner=self._make_runner,
            on_frame_sent=lambda frame: self._note(frame, time.perf_counter()),
        )
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        self._url = server.ws_url

    def _make_runner(
        self, network: Network, config: ServerConfig, placement: Placement
    ) -> _StampedRunner:
        self._runner = _StampedRunner(network, config.slots, config.threads, placement.dtype)
        self._runner.stamp()
        return self._runner

    def _note(self, frame: bytes, written: float) -> None:
        message = decode_server(frame)
        if not isinstance(message, Rows) or self._runner is None:
            return
        size = 2 * self._model.grid.cols
        for first in range(0, len(message.ids), size):
            sampled = self._runner.rows.pop(message.ids[first : first + size], None)
            if sampled is not None:
                self._delays.append(written - sampled)

    def url(self) -> str:
        """The URL where viewers connect."""
        return self._url

    def delays(self) -> list[float]:
        """Seconds of all rows since the last call."""
        delays, self._delays = self._delays, []
        return delays

    def draw_alone(self, rows: int) -> float:
        """Seconds that the same engine takes for ``rows`` rows of JOBS jobs, without a socket."""
        assert self._runner is not None
        engine = Engine(self._runner)
        text = self._model.text_ids(PROMPT)
        begun = time.perf_counter()
        draw_together(
            engine,
            [PictureRequest(text, seed, 0, Sampling(), rows) for seed in range(JOBS)],
        )
        return time.perf_counter() - begun


async def view(
    url: str, rows: int, stop_row: int, told: Callable[[int], object] = lambda count: None
) -> float:
    """Seconds in which JOBS clients together receive ``rows`` rows; ``told`` gets their counts."""
    seen = 0

    async def one(client: rowcast.AsyncClient, number: int) -> None:
        nonlocal seen
        seed = number
        while seen < rows:
            async for event in client.generate(PROMPT, seed=seed, stop_row=stop_row):
                if isinstance(event, rowcast.RowsArrived):
                    seen += len(event.rows)
                    told(len(event.rows))
            seed += JOBS

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(rowcast.connect(url, decode=False)) for _ in range(JOBS)
        ]
        begun = time.perf_counter()
        await asyncio.gather(*(one(client, n) for n, client in enumerate(clients)))
        return time.perf_counter() - begun
