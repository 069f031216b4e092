"""`rowcast bench loading`: the memory that a server takes while it loads a model of real size.

In a process of its own, as `rowcast serve` does it: the model is read, the graphs are made and one
token is drawn. Memory that no file backs is counted (Linux); what is mapped costs nobody anything.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rowcast.cache import default_cache
from rowcast.errors import RowcastError
from rowcast_server.engine.request import PictureRequest
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.models.loading import load_transformer
from rowcast_server.models.sources import find_in
from rowcast_server.network.facts import UNCONDITIONAL, Sampling

from ..markdown import table
from ..progress import Progress
from .memory import anonymous_bytes
from .random_model import random_model
from .worker import run_apart

SLOTS: Final = 16
WATCH_SECONDS: Final = 0.005  # between looks at the memory
TIMES: Final = ("written", "found")  # the graphs, by the first loading and by the second


@dataclass(frozen=True)
class Loading:
    """Bytes of memory before, at most and after, those of the weights in float32, and seconds."""

    before: int
    peak: int
    after: int
    weights: int
    seconds: float

    @property
    def taken(self) -> float:
        """The most memory above that before, by the size of the weights."""
        return (self.peak - self.before) / self.weights

    @property
    def kept(self) -> float:
        """The same once loaded."""
        return (self.after - self.before) / self.weights


def measure(folder: Path, cache: Path, threads: int) -> Loading:
    """Load the model in ``folder`` in a process of its own, with the cache folder at ``cache``.

    Raises RowcastError where the system does not tell what memory is taken.
    """
    loading: Loading = run_apart(_load, folder, cache, threads)
    return loading


def _load(folder: Path, cache: Path, threads: int) -> Loading:
    """Load the transformer in ``folder`` with SLOTS slots, and draw one token."""
    os.environ["ROWCAST_CACHE"] = str(cache)
    before, begun = anonymous_bytes(), time.perf_counter()
    if not before:
        raise RowcastError("memory without files is told by Linux alone: run this there")
    peak, ended = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(WATCH_SECONDS):
            peak = max(peak, anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        model = load_transformer(find_in(folder))
        runner = OnnxRunner(model, SLOTS, threads)
        runner.open(0, PictureRequest(UNCONDITIONAL, 0, 0, Sampling(), 1))
        runner.step(np.array([0]))
    finally:
        ended.set()
        thread.join()
    weights = 4 * (model.encoder.elements + model.decoder.elements)
    after, seconds = anonymous_bytes(), time.perf_counter() - begun
    return Loading(before, max(peak, after), after, weights, seconds)


def run(console: Console, size: str, threads: int) -> tuple[dict[str, Any], str]:
    """Load a random model twice, with an empty cache and with what that left."""
    folder = random_model(size, default_cache(), console.print)
    stages = [f"loading {size}, graphs {each}" for each in TIMES]
    figures: dict[str, Any] = {"size": size, "threads": threads, "slots": SLOTS}
    with tempfile.TemporaryDirectory() as cache, Progress(console, stages) as progress:
        for each, stage in zip(TIMES, stages, strict=True):
            progress.stage(stage)
            found = measure(folder, Path(cache), threads)
            figures |= {
                "weights_gb": round(found.weights / 1e9, 2),
                f"{each}_seconds": round(found.seconds, 1),
                f"{each}_memory_by_weights": round(found.taken, 2),
                f"{each}_memory_by_weights_after": round(found.kept, 2),
            }
    names = "seconds", "memory_by_weights", "memory_by_weights_after"
    most = max(figures[f"{each}_memory_by_weights"] for each in TIMES)
    sizes = table(
        (f"{figures['weights_gb']} GB of weights", "s", "memory by weights, most", "once loaded"),
        [(f"graphs {each}", *(figures[f"{each}_{name}"] for name in names)) for each in TIMES],
    )
    return (
        figures,
        f"""\
In float32 on the CPU weights over 256 MB are written once into the cache folder and mapped from
there, so loading takes at most {most} times their size in memory:

{sizes}""",
    )
