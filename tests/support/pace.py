"""A real server that draws only as many rows as a test lets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.server import RowcastServer

from tests.support.servers import running_server

COLS = 4  # of the tiny model


class Gate:
    """Shut after the first step; a step of the engine draws one token of every running picture."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._steps = 1  # with it the engine tells who has a slot
        self._is_open = False

    def allow(self, rows: int) -> None:
        with self._changed:
            self._steps += rows * COLS
            self._changed.notify()

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify()

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self._steps > 0)
            self._steps -= 1


@contextmanager
def paced_server(model: Path, **settings: Any) -> Iterator[tuple[RowcastServer, Gate]]:
    gate = Gate()

    class PacedRunner(OnnxRunner):
        def step(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
            gate.enter()
            return super().step(positions)

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rowcast_server.runners.OnnxRunner", PacedRunner)
            server = stack.enter_context(running_server(model, **settings))
        stack.callback(gate.open)
        yield server, gate
