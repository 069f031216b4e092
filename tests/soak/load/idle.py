"""Five thousand connections that do nothing: what each takes of memory and of a core.

They have greeted, answer pings, and that is all.
"""

from __future__ import annotations

from ..scenario import Figures
from .latency import pause
from .loaded import LoadedServer, loaded_server, socket_memory
from .wire import Crowd, hello, request

CONNECTIONS, QUICK_CONNECTIONS = 5_000, 500
SECONDS = 20.0  # of which the processor time is counted: a ping of each
WARMING = 10  # a share of the connections that come and go before
MOST_MEMORY, MOST_PROCESSOR = 20.0, 5.0


def run(quick: bool) -> Figures:
    count = QUICK_CONNECTIONS if quick else CONNECTIONS
    with loaded_server(f"--connections={2 * count}") as server, Crowd(server.url) as crowd:
        return be_idle(server, crowd, count)


def be_idle(server: LoadedServer, crowd: Crowd, count: int, seconds: float = SECONDS) -> Figures:
    """The figures of so many idle connections."""
    figures, greeting = Figures(), request(server.url) + hello()
    crowd.cut(crowd.open_many(count // WARMING, greeting))
    pause(crowd, 1.0)
    before, kernel = server.memory, socket_memory()
    lines = crowd.open_many(count, greeting)
    pause(crowd, 1.0)
    memory, kernel = server.memory - before, socket_memory() - kernel
    used = server.seconds
    pause(crowd, seconds)
    used = server.seconds - used
    figures.add("connections", sum(not line.code for line in lines), least=count)
    figures.add("memory a connection", memory / count / 1_024, "KiB", most=MOST_MEMORY)
    figures.add("kernel's memory a connection", kernel / count / 1_024, "KiB")
    figures.add("share of a core", 100 * used / seconds, "%", most=MOST_PROCESSOR)
    return figures
