"""A real server that draws only as many rows as a test lets it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rowcast_server.config import ServerConfig
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.network.facts import Network
from rowcast_server.placement import Placement
from rowcast_server.server import RowcastServer

from tests.support.servers import running_server

COLS = 4  # of the tiny model


class Gate:
    """Lets an engine take ``steps`` steps; each draws one token of every running picture."""

    def __init__(self, steps: int) -> None:
        self._changed = threading.Condition()
        self._steps = steps
        self._is_open = False

    def allow(self, rows: int) -> None:
        self.allow_steps(rows * COLS)

    def allow_steps(self, count: int) -> None:
        with self._changed:
            self._steps += count
            self._changed.notify()

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify()

    def shut(self) -> None:
        with self._changed:
            self._is_open, self._steps = False, 0

    def enter(self) -> None:
        """Wait for the next step."""
        with self._changed:
            may = self._changed.wait_for(lambda: self._is_open or self._steps > 0, timeout=60)
            assert may, "a test left its engine waiting"
            self._steps -= 1


def gate_of(steps: int) -> Gate:
    """A gate for engines of this process, or of a cluster (`running_server`)."""
    if os.environ.get("ROWCAST_TEST_ENGINES") != "ray":
        return Gate(steps)
    from .clustered.ray_engines import RemoteGate

    return RemoteGate(steps)


@contextmanager
def paced_server(
    model: Path, *, steps: int = 1, **settings: Any
) -> Iterator[tuple[RowcastServer, Gate]]:
    """With its first step the engine tells who has a slot."""
    gate = gate_of(steps)

    class PacedRunner(OnnxRunner):
        def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
            gate.enter()
            return super().step(positions)

    def make_runner(network: Network, config: ServerConfig, placement: Placement) -> OnnxRunner:
        return PacedRunner(network, config.slots, config.threads, placement.dtype, placement.cache)

    with running_server(model, make_runner, **settings) as server:
        try:
            yield server, gate
        finally:
            gate.open()
