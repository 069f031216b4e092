"""The link between two namespaces: no packet is sooner than the link's delay."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rowcast_bench.transport.link import FAR, LINKS, NEAR, Link, enter_namespace, why_not

DELAY = 0.05


def test_links_go_from_the_best_to_the_worst_and_the_first_is_not_shaped() -> None:
    assert LINKS[0].rate == 0
    rates = [link.rate for link in LINKS[1:]]
    assert rates == sorted(rates, reverse=True)


def test_a_packet_after_silence_waits_its_whole_delay() -> None:
    if reason := why_not():
        pytest.skip(reason)
    link = Link(1e6, DELAY, 0.0)
    with ThreadPoolExecutor(1) as near, ThreadPoolExecutor(1) as far:
        ends = near.submit(enter_namespace, NEAR, FAR), far.submit(enter_namespace, FAR, NEAR)
        with link.between(*(end.result() for end in ends)):
            listener = far.submit(_listen).result()
            sender = near.submit(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result()
            time.sleep(4 * DELAY)
            sent = time.monotonic()
            sender.sendto(b"row", listener.getsockname())
            assert listener.recv(10) == b"row"
            assert time.monotonic() - sent >= DELAY
            assert link.carried[1] >= len(b"row")
            sender.close()
            listener.close()


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.settimeout(10)
    listener.bind((FAR, 0))
    return listener
