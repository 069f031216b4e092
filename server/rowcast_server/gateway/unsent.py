"""Bytes that the kernel was given and has not sent: rows drawn meanwhile travel together (D-110).

The kernel takes 64 KiB for a viewer, which a link of 50 kbit/s carries in ten seconds. What is
drawn in that time would queue up there, row by row, and a `goaway` or the end of a picture behind
it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Final

SIOCOUTQNSD: Final = 0x894B  # linux/sockios.h
ANSWER: Final = bytes(4)  # an int
PACKET_BYTES: Final = 1_400  # about: frames of several pictures share one


def unsent_on(transport: asyncio.BaseTransport) -> int:
    """Bytes that TCP has not sent yet; 0 where the kernel does not tell: Linux alone does, of TCP
    alone."""
    return unsent_bytes(transport.get_extra_info("socket").fileno())


async def all_sent(transport: asyncio.BaseTransport) -> None:
    """Wait until TCP has sent everything, acknowledged or not, or the connection is lost."""
    sock: socket.socket = transport.get_extra_info("socket")
    # The kernel calls a socket writable once nothing is unsent. The transport watches its own
    # descriptor, so this is another, of the same socket.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1)
    descriptor, writable = os.dup(sock.fileno()), asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        loop.add_writer(descriptor, writable.set)
        await writable.wait()
    finally:
        loop.remove_writer(descriptor)
        os.close(descriptor)


if sys.platform == "linux":
    from fcntl import ioctl

    def unsent_bytes(descriptor: int) -> int:
        """Bytes that TCP holds back, as the peer's buffer or the network is full; 0 where the
        socket is closed."""
        try:
            return int.from_bytes(ioctl(descriptor, SIOCOUTQNSD, ANSWER), sys.byteorder)
        except (OSError, ValueError):  # no TCP; closed
            return 0

else:

    def unsent_bytes(descriptor: int) -> int:
        """0: only Linux tells."""
        return 0
