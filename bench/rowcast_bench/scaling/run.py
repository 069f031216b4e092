"""`rowcast bench scaling`: a process, two replicas of a cluster beside it, and a simulation.

Keys of `scaling.json`, stable within a ``schema``:

- ``schema``; ``machine``, ``versions``, ``command``, ``quick``, ``seconds``
- ``single``: of one process, ``pictures_per_minute`` at full load, ``row_ms`` (``p50``, ``p99``:
  from a row's drawing to its receipt, at half load)
- ``cluster``: of two replicas on the same cores, the same; ``gateway_cpu_ms_per_row``;
  ``throughput_ratio``; ``added_row_ms`` (``p50``, ``p99``); ``step_ms``, a list of ``pictures`` (of
  a replica) and ``ms``; ``first_of_sockets_s`` and ``last_of_sockets_s``, the median of a picture
  on the first and on the last of ``sockets`` connections
- ``agreement``: of loads (a share of full load), ``measured`` and ``simulated`` ``pictures_per_s``
  and ``picture_s`` (the mean from request to end), and how far the simulation is off, in %
- ``plans``: `plans.Worked`, of so many concurrent viewers each
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any, Final

from rich.console import Console
from rowcast.errors import RowcastError
from rowcast.terminal.install_hints import install_hint
from rowcast_server.config import usable_cores

from ..machine import describe
from ..progress import Progress
from ..transport.results import write
from .measure import Loop, Served, among_sockets, closed_loop, open_loop, row_latencies, served
from .page import report
from .plans import worked
from .simulation import Plan, StepTimes, simulate

SCHEMA: Final = 1
SLOTS: Final = 32  # of all engines together
REPLICAS: Final = 2
ROWS = COLS = 16  # of postcard
AT_ONCE: Final = (2, 8, 16, SLOTS)  # pictures under way, by which steps are timed
LOADS: Final = (0.5, 0.8)  # of full load: the first is that of the latencies
LOOP_SECONDS, QUICK_SECONDS = 40.0, 6.0
OPEN_SECONDS: Final = 60.0
FILE: Final = "scaling.json"
Figures = dict[str, Any]


def run(console: Console, quick: bool, out: Path) -> tuple[Figures, str]:
    """Measure, simulate, and write the results."""
    try:
        versions = {name: version(name) for name in ("ray", "onnxruntime", "websockets")}
    except PackageNotFoundError as error:
        raise RowcastError(
            f"`rowcast bench scaling` needs Ray: {install_hint('bench', 'ray')}"
        ) from error
    begun = time.monotonic()
    seconds = QUICK_SECONDS if quick else LOOP_SECONDS
    opened = QUICK_SECONDS if quick else OPEN_SECONDS
    seeds = count(1)
    plan = ["one process", "two replicas", "one process at half load", "simulations"]
    with Progress(console, plan) as progress:
        progress.stage("one process")
        threads = usable_cores()
        with served(SLOTS, threads) as server:
            single = asyncio.run(closed_loop(server.url, SLOTS, seconds, seeds))
        progress.stage("two replicas")
        with served(SLOTS // REPLICAS, max(1, threads // REPLICAS), REPLICAS) as server:
            cluster, loops = _cluster(server, seconds, opened, seeds)
        progress.stage("one process at half load")
        rate = LOADS[0] * cluster["pictures_per_minute"] / 60
        with served(SLOTS, threads) as server:
            half = asyncio.run(open_loop(server.url, rate, opened, seeds))
            row_ms = _row_ms(half, server)
        progress.stage("simulations")
        steps = _steps(cluster)
        found: Figures = {
            "schema": SCHEMA,
            "machine": describe(),
            "versions": versions,
            "command": "rowcast bench scaling" + (" --quick" if quick else ""),
            "quick": quick,
            "single": {
                "pictures_per_minute": 60 * single.pictures_per_second,
                "row_ms": row_ms,
            },
            "cluster": cluster
            | {
                "throughput_ratio": cluster["pictures_per_minute"]
                / (60 * single.pictures_per_second),
                "added_row_ms": {
                    share: cluster["row_ms"][share] - row_ms[share] for share in row_ms
                },
            },
            "agreement": [
                _agreement(share, loop, steps, cluster, opened)
                for share, loop in zip(LOADS, loops, strict=True)
            ],
        }
        found["plans"] = worked(found, quick)
        found["seconds"] = time.monotonic() - begun
    write(out / FILE, found)
    return found, report(found)


def _cluster(
    server: Served, seconds: float, opened: float, seeds: Iterator[int]
) -> tuple[Figures, list[Loop]]:
    """The figures of two replicas, and the open loops of `LOADS`."""
    step_ms = []
    for pictures in AT_ONCE:
        before = server.cpu_seconds()
        loop = asyncio.run(closed_loop(server.url, pictures, seconds, seeds))
        cpu = server.cpu_seconds() - before
        ms = 1000 * pictures / loop.pictures_per_second / (ROWS * COLS)
        step_ms.append({"pictures": pictures // REPLICAS, "ms": ms})
    full = loop  # the last has every slot
    loops = [
        asyncio.run(open_loop(server.url, share * full.pictures_per_second, opened, seeds))
        for share in LOADS
    ]
    first, last = asyncio.run(among_sockets(server.url, seeds))
    return {
        "pictures_per_minute": 60 * full.pictures_per_second,
        "row_ms": _row_ms(loops[0], server),
        "gateway_cpu_ms_per_row": 1000 * cpu / full.rows * seconds / (seconds + 3.0),
        "step_ms": step_ms,
        "sockets": 1000,
        "first_of_sockets_s": first,
        "last_of_sockets_s": last,
    }, loops


def _row_ms(loop: Loop, server: Served) -> Figures:
    latencies = row_latencies(loop, server.drawn())
    return {
        name: 1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))]
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def _steps(cluster: Figures) -> StepTimes:
    told = cluster["step_ms"]
    return StepTimes(
        tuple(each["pictures"] for each in told), tuple(each["ms"] / 1000 for each in told)
    )


def _agreement(
    share: float, loop: Loop, steps: StepTimes, cluster: Figures, seconds: float
) -> Figures:
    """An open loop as it was measured, and as it is simulated."""
    rate = share * cluster["pictures_per_minute"] / 60
    plan = Plan(REPLICAS, SLOTS // REPLICAS, steps, ROWS, COLS, rate, 40 * seconds, seconds)
    simulated = simulate(plan)
    measured = {"pictures_per_s": loop.pictures_per_second, "picture_s": mean(loop.whole)}
    expected = {
        "pictures_per_s": simulated.ended / plan.seconds,
        "picture_s": mean(simulated.whole),
    }
    return {
        "load": share,
        "measured": measured,
        "simulated": expected,
        "off_percent": {name: 100 * (expected[name] / measured[name] - 1) for name in measured},
    }
