"""What a server measures, for Prometheus: `/metrics` at an address of its own.

Imported only where somebody asks for it. Names and units are those of Prometheus' own conventions:
seconds, bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from rowcast.errors import RowcastError

from ..metrics import Metrics
from .sockets import url_host

ROW_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LAG_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)

Load = Callable[[], dict[str, float]]  # what a server has at the moment, as numbers by name


class PrometheusMetrics(Metrics):
    """Keeps all of it. ``load`` is asked whenever somebody reads `/metrics`; ``url`` is where that
    is, once it is served."""

    def __init__(self, load: Load) -> None:
        self.url = ""
        self._watching: asyncio.Task[None] | None = None
        self.registry = CollectorRegistry()
        self._rows = self._counter("rows", "Rows drawn")
        self._rows_sent = self._counter("rows_sent", "Rows sent, to all viewers")
        self._row_frames = self._counter("row_frames", "Frames that held rows")
        self._frames = self._counter("frames", "Frames sent")
        self._bytes = self._counter("sent_bytes", "Bytes of frames sent, without headers")
        self._closes = self._counter("closes", "WebSockets closed, by code", "code")
        self._refusals = self._counter("refusals", "Requests refused, by reason", "reason")
        self._first = self._histogram("first_row_seconds", "From acceptance to the first row")
        self._interval = self._histogram("row_interval_seconds", "From a row to the next")
        self._lag = self._histogram("send_lag_seconds", "From a row to its frame", LAG_SECONDS)
        self._loop = self._histogram("event_loop_lag_seconds", "Of the event loop", LAG_SECONDS)
        self._step = self._histogram("step_seconds", "Of an engine's step", ROW_SECONDS)
        self.registry.register(_LoadCollector(load))

    def row_drawn(self, seconds: float, is_first: bool) -> None:
        self._rows.inc()
        (self._first if is_first else self._interval).observe(seconds)

    def rows_sent(self, rows: int, lag: float) -> None:
        self._rows_sent.inc(rows)
        self._row_frames.inc()
        self._lag.observe(lag)

    def frame_sent(self, size: int) -> None:
        self._frames.inc()
        self._bytes.inc(size)

    def closed(self, code: int | None) -> None:
        self._closes.labels("none" if code is None else str(code)).inc()

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()

    def stepped(self, seconds: float) -> None:
        self._step.observe(seconds)

    def loop_lagged(self, seconds: float) -> None:
        self._loop.observe(seconds)

    def serve(self, host: str, port: int) -> None:
        """Answer `GET /metrics` in a thread, and measure the running event loop's lag.

        Raises RowcastError where the address cannot be had.
        """
        try:
            self._server, self._thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise RowcastError(
                f"--metrics-port {port}: {error.strerror or error}; choose another"
            ) from error
        self.url = f"http://{url_host(host)}:{self._server.server_port}/metrics"
        self._watching = asyncio.create_task(watch_loop(self))

    async def close(self) -> None:
        """End what `serve` began, if it did."""
        if self._watching is None:
            return
        self._watching.cancel()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"rowcast_{name}", words, labels, registry=self.registry)

    def _histogram(
        self, name: str, words: str, buckets: tuple[float, ...] = ROW_SECONDS
    ) -> Histogram:
        return Histogram(f"rowcast_{name}", words, registry=self.registry, buckets=buckets)


class _LoadCollector(Collector):
    """A server's load as gauges, asked for when somebody reads them."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def collect(self) -> Iterator[Metric]:
        for name, value in self._load().items():
            yield GaugeMetricFamily(f"rowcast_{name}", name.replace("_", " "), value)


async def watch_loop(metrics: Metrics, interval: float = 0.5) -> None:
    """Measure the lag of the running event loop every ``interval`` seconds, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        metrics.loop_lagged(max(0.0, loop.time() - due))
