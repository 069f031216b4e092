"""What a server tells Prometheus: every event counted, at an address of its own."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
import rowcast
from prometheus_client.parser import text_string_to_metric_families
from rowcast.errors import ConnectionFailed, RequestRefused, RowcastError
from rowcast_server.gateway.prometheus import PrometheusMetrics, watch_loop
from rowcast_server.server import RowcastServer

from tests.support.raw_client import until
from tests.support.servers import running_server


def read(url: str) -> dict[str, float]:
    """Values by name and labels, as `name` or `name{label}`."""
    text = httpx.get(url, trust_env=False).text
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def url_of(server: RowcastServer) -> str:
    (line,) = (line for line in server.summary if line.startswith("metrics"))
    return line.split()[1]


async def test_what_happens_is_counted(tiny_folder: Path) -> None:
    with running_server(tiny_folder, metrics_port=0, tokens=frozenset({"mine"})) as server:
        url = url_of(server)
        assert url.startswith("http://127.0.0.1:")
        async with rowcast.connect(server.ws_url, token="mine") as client:
            pictures = await client.pictures("a red boat", images=2)
            with pytest.raises(RequestRefused):
                await client.pictures("?!", model=None, revision=b"12345678")
            told = await asyncio.to_thread(read, url)
            assert told["rowcast_websocket_connections"] == 1
        with pytest.raises(ConnectionFailed):
            await rowcast.connect(server.ws_url, token="other").__aenter__()
        async with httpx.AsyncClient(trust_env=False) as http:
            refused = await http.get(server.http_url, headers={"Host": "evil.example"})
            assert refused.status_code == 421
        await until(lambda: read(url)["rowcast_websocket_connections"] == 0)
        told = await asyncio.to_thread(read, url)
    rows = sum(done.picture.rows_held for done in pictures)
    assert told["rowcast_rows_total"] == told["rowcast_rows_sent_total"] == rows == 8
    assert 2 <= told["rowcast_row_frames_total"] <= rows
    assert told["rowcast_first_row_seconds_count"] == 2
    assert told["rowcast_row_interval_seconds_count"] == 6
    assert told["rowcast_send_lag_seconds_count"] == told["rowcast_row_frames_total"]
    assert told["rowcast_step_seconds_count"] >= 16
    assert told["rowcast_frames_total"] >= told["rowcast_row_frames_total"] + 5
    assert told["rowcast_sent_bytes_total"] > 8 * rows
    assert told["rowcast_closes_total{1000}"] == 1
    assert told["rowcast_closes_total{4403}"] == 1
    assert told["rowcast_refusals_total{wrong_revision}"] == 1
    assert told["rowcast_refusals_total{http_421}"] == 1
    assert told["rowcast_pictures_drawn"] == told["rowcast_pictures_waiting"] == 0
    assert told["rowcast_pictures_kept"] == 2


def test_they_are_not_on_the_port_that_clients_see(tiny_folder: Path) -> None:
    with running_server(tiny_folder, metrics_port=0) as server:
        assert httpx.get(f"{server.http_url}/metrics", trust_env=False).status_code == 404
        assert not url_of(server).startswith(server.http_url)


def test_nobody_asks_and_nothing_listens(tiny_server: RowcastServer) -> None:
    assert [line for line in tiny_server.summary if line.startswith("metrics")] == []


def test_a_port_that_is_taken_is_told_by_its_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RowcastError, match=f"--metrics-port {port}: .*choose another"):
            PrometheusMetrics(dict).serve("127.0.0.1", port)


async def test_a_loop_that_was_held_up_shows_it() -> None:
    metrics = PrometheusMetrics(dict)
    watching = asyncio.create_task(watch_loop(metrics, 0.01))
    await asyncio.sleep(0)
    import time

    time.sleep(0.2)  # noqa: ASYNC251 - what is to be seen
    await asyncio.sleep(0.05)
    watching.cancel()
    lag = metrics.registry.get_sample_value("rowcast_event_loop_lag_seconds_sum")
    assert lag is not None
    assert lag > 0.1
