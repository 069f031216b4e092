"""Two thousand requests that never end: all are closed in time, and nobody waits for them.

And what one port for both protocols costs: a handshake, and the memory of a connection, beside the
same WebSocket side on a port of its own, which `websockets` listens at, and beside a bare server of
`websockets`; in turns.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from ..scenario import Figures, percentile, say
from .latency import pause, settled
from .loaded import BARE, LoadedServer, loaded_server
from .wire import Crowd, request

HALF_OPEN, QUICK_HALF_OPEN = 2_000, 200
OPEN_TIMEOUT = 5.0
MOST_MILLISECONDS = 100.0
HANDSHAKES, QUICK_HANDSHAKES = 1_000, 100
CONNECTIONS, QUICK_CONNECTIONS = 1_000, 200
MOST_TIME, MOST_MEMORY = 0.2, 2.0
APART = ("tests.soak.load.apart_server",)


def run(quick: bool) -> Figures:
    figures = Figures()
    count = QUICK_HALF_OPEN if quick else HALF_OPEN
    with loaded_server(f"--handshakes={2 * count}") as server, Crowd(server.url) as crowd:
        leave_open(figures, server, crowd, count)
    with (
        loaded_server() as ours,
        loaded_server(module=APART) as apart,
        loaded_server(module=BARE) as bare,
    ):
        servers = ours, apart, bare
        own, two, alone = handshake_times(servers, QUICK_HANDSHAKES if quick else HANDSHAKES)
        figures.add("a handshake, one port for both", own, "ms")
        figures.add("a handshake, a port of its own", two, "ms")
        figures.add("a handshake, bare server", alone, "ms")
        figures.add("one port costs a handshake", own - two, "ms", most=MOST_TIME)
        count = QUICK_CONNECTIONS if quick else CONNECTIONS
        own, two, alone = (memory(server, count) for server in servers)
        figures.add("a connection, one port for both", own, "KiB")
        figures.add("a connection, a port of its own", two, "KiB")
        figures.add("a connection, bare server", alone, "KiB")
        figures.add("one port costs a connection", own - two, "KiB", most=MOST_MEMORY)
    return figures


def leave_open(figures: Figures, server: LoadedServer, crowd: Crowd, count: int) -> None:
    """Connections whose request lacks its last bytes, beside others."""
    part, whole = request(server.url)[:-2], request(server.url)
    begun, times = time.monotonic(), []
    lines = []
    for number in range(count):
        lines.append(crowd.open(part, read=False))
        if number % 20 == 19:
            times.append(handshake(crowd, whole))
    opened = time.monotonic()
    held = server.held()["handshakes"]
    while server.held()["handshakes"] and time.monotonic() < opened + 2 * OPEN_TIMEOUT:
        times.append(handshake(crowd, whole))
        pause(crowd, 0.02)
    passed = time.monotonic() - opened
    say(f"  {count} opened in {opened - begun:.1f} s, {len(times)} handshakes beside them")
    figures.add("half-open at the end of their coming", held, least=count / 2)
    figures.add("all closed after the last came", passed, "s", most=OPEN_TIMEOUT + 1)
    late = 1_000 * percentile(times, 0.99)
    figures.add("p99 of handshakes meanwhile", late, "ms", most=MOST_MILLISECONDS)
    crowd.cut(lines)
    settled(server, crowd, "handshakes", 0, OPEN_TIMEOUT)


def handshake(crowd: Crowd, data: bytes) -> float:
    """Seconds from connecting to the answer."""
    begun = time.perf_counter()
    line = crowd.open(data)
    crowd.until(lambda: line.status)
    passed = time.perf_counter() - begun
    crowd.cut([line])
    return passed


def handshake_times(servers: tuple[LoadedServer, ...], count: int) -> list[float]:
    """Milliseconds of a handshake at each, the median of so many; they take turns."""
    with ExitStack() as stack:
        crowds = [stack.enter_context(Crowd(server.url)) for server in servers]
        times: list[list[float]] = [[] for _ in crowds]
        for _ in range(count):
            for crowd, told in zip(crowds, times, strict=True):
                told.append(handshake(crowd, request(crowd.url)))
                time.sleep(0.003)  # in which a server is done with it
        return [1_000 * statistics.median(told) for told in times]


def memory(server: LoadedServer, count: int) -> float:
    """KiB of each of so many connections that have said nothing yet."""
    with Crowd(server.url) as crowd:
        data = request(server.url)
        crowd.cut([crowd.open(data) for _ in range(count // 10)])
        pause(crowd, 1.0)
        before, lines = server.memory, []
        for number in range(count):
            lines.append(crowd.open(data))
            if number % 100 == 99:
                crowd.until(lambda: all(line.status for line in lines))
        return (server.memory - before) / count / 1_024
