"""The link of a benchmark: two network namespaces, a TUN device each, and packets carried between.

A thread enters a namespace of its own (unshare(2)); the device that it opens, the processes that it
starts and the sockets that it makes are there. Nothing has a name outside, so nothing is left
behind, whatever ends this process. It needs Linux, and root.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

CLONE_NEWNET: Final = 0x40000000
TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
NEAR, FAR = "10.77.0.1", "10.77.0.2"  # the addresses of the two ends
MOST_WAITING: Final = 100  # packets each way, as a router's queue; those beyond are lost
PACKET_BYTES: Final = 1_500


def enter_namespace(address: str, peer: str) -> int:
    """Have this thread enter a network namespace of its own, for good; returns the descriptor of
    its only way out, a TUN device. Raises OSError where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace can be made")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun", IFF_TUN_NO_PI))
    for words in (
        "link set lo up",
        f"address add {address} dev tun",
        "link set tun up",
        f"route add {peer} dev tun congctl cubic",  # Linux's own default, whatever is set here
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return device


def why_not() -> str:
    """The reason why no such link can be made here; empty if it can."""
    found = [""]

    def attempt() -> None:
        try:
            os.close(enter_namespace(NEAR, FAR))
        except (OSError, AttributeError, subprocess.CalledProcessError) as error:
            found[0] = f"needs Linux, root, /dev/net/tun and ip ({error})"

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return found[0]


@dataclass(frozen=True)
class LinkFacts:
    """A link that is measured: bits a second each way, the round trip in seconds, and the share
    of packets that is lost. ``rate`` 0 is loopback, which is not shaped."""

    name: str
    label: str
    rate: float = 0.0
    round_trip: float = 0.0
    loss: float = 0.0


LINKS: Final = (
    LinkFacts("loopback", "loopback"),
    LinkFacts("wifi", "20 Mbit/s, 20 ms", 20e6, 0.02),
    LinkFacts("lte", "10 Mbit/s, 40 ms", 10e6, 0.04),
    LinkFacts("3g", "3G: 1.6 Mbit/s, 150 ms", 1.6e6, 0.15),
    LinkFacts("slow", "256 kbit/s, 200 ms", 256e3, 0.2),
    LinkFacts("lossy", "50 kbit/s, 300 ms, 5 % loss", 50e3, 0.3, 0.05),
)


@dataclass
class Link:
    """Bits a second and seconds of delay each way, and the share of packets that is lost."""

    rate: float
    delay: float
    loss: float
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    packets: int = 0
    lost: int = 0
    carried: list[int] = field(default_factory=lambda: [0, 0])  # bytes down, up, lost ones too

    @contextmanager
    def between(self, near: int, far: int) -> Iterator[None]:
        """Carry packets between two devices."""
        end_reader, end_writer = os.pipe()
        thread = threading.Thread(target=self._carry, args=(near, far, end_reader))
        thread.start()
        try:
            yield
        finally:
            os.close(end_writer)
            thread.join()
            os.close(end_reader)

    def _carry(self, near: int, far: int, end: int) -> None:
        others = {near: far, far: near}
        free = {near: 0.0, far: 0.0}  # when the last bit is on the line, by where it comes from
        under_way: list[tuple[float, int, int, bytes]] = []  # due, number, device, packet
        while True:
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                *_, device, packet = heapq.heappop(under_way)
                os.write(device, packet)
            wait = under_way[0][0] - now if under_way else None
            ready, _, _ = select.select([near, far, end], [], [], wait)
            if end in ready:
                return
            now = time.monotonic()  # it may have waited long
            for device in ready:
                packet = os.read(device, PACKET_BYTES)
                self.packets += 1
                self.carried[device == near] += len(packet)
                sent = max(now, free[device]) + 8 * len(packet) / self.rate
                waiting = sent - now > MOST_WAITING * 8 * PACKET_BYTES / self.rate
                if self.chance.random() < self.loss or waiting:
                    self.lost += 1
                    continue
                free[device] = sent
                due = sent + self.delay
                heapq.heappush(under_way, (due, self.packets, others[device], packet))
