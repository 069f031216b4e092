"""`python -m rowcast_bench.scaling.stamped_server`: a server that notes when each row is drawn.

In this process, or with ``--replicas`` on a local Ray cluster; the same runner draws in both. A
line of the file of stamps has a picture's seed, a row, and the time on the clock that all processes
of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowcast_server.bridge import Fleet
from rowcast_server.config import ServerConfig
from rowcast_server.engine.runner import PendingRow
from rowcast_server.engine.runner_onnx import OnnxRunner
from rowcast_server.models.loading import Transformer, load
from rowcast_server.models.revision import revision_in
from rowcast_server.placement import Placement
from rowcast_server.runners import make_fleet
from rowcast_server.server import RowcastServer

MANY = 1_000_000
MODEL = "postcard"


class StampingRunner(OnnxRunner):
    """Notes each row as its last token is drawn."""

    def note_in(self, stamps: Path) -> None:
        self._stamps = stamps.open("a", buffering=1)

    def row(self, slot: int, row: int) -> PendingRow:
        now = time.monotonic()
        pending = super().row(slot, row)
        request = self._requests[slot]
        assert request is not None
        self._stamps.write(f"{request.seed} {row} {now}\n")
        return pending


@dataclass(frozen=True)
class MakeStampingRunner:
    """Makes runners that note in this file."""

    stamps: Path

    def __call__(
        self, model: Transformer, config: ServerConfig, placement: Placement
    ) -> StampingRunner:
        runner = StampingRunner(model, config.slots, config.threads, placement.dtype)
        runner.note_in(self.stamps)
        return runner


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--replicas", type=int, default=0)
    options = parser.parse_args()
    config = ServerConfig(
        port=0,
        slots=options.slots,
        threads=options.threads,
        address_connections=MANY,
        starts_per_minute=MANY,
        client_pictures=MANY,
        cluster="local" if options.replicas else None,
        replicas=options.replicas or None,
    )
    model, maker = load(MODEL), MakeStampingRunner(options.stamps)
    engines: Any = None
    if options.replicas:
        engines = _clustered(config, revision_in("float32", model.revision).hex(), maker)
    server = RowcastServer(model, config, maker, engines=engines)
    asyncio.run(_serve(server))


def _clustered(config: ServerConfig, revision: str, maker: MakeStampingRunner) -> Any:
    from rowcast_server.cluster.ray_cluster import LOCAL, Application, join

    @dataclass(frozen=True)
    class Stamped(Application):
        """Replicas whose runners note their rows."""

        def engines(self) -> Fleet:
            return make_fleet(load(MODEL), self.config, maker)

    return join(LOCAL, Stamped(MODEL, None, revision, config), config.replicas, 0.0, print)


async def _serve(server: RowcastServer) -> None:
    await server.start()
    print(f"ready {server.ws_url}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


if __name__ == "__main__":
    main()
