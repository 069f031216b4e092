"""Many WebSockets of one thread, by hand: what a library takes would be measured too."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgpack

from tests.support.raw_client import CANCEL, HELLO, START, WATCH, masked

NONCE = "AAAAAAAAAAAAAAAAAAAAAA=="
HEAD_END = b"\r\n\r\n"
CLOSE, PING, PONG = 8, 9, 10  # opcodes
PROMPT = "a red house"
BATCH = 100  # connections opened before others are read
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


def packed(*fields: object) -> bytes:
    """A message as a client's frame."""
    return masked(msgpack.packb(fields))


def request(url: str, *fields: str) -> bytes:
    """A request for a WebSocket."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {NONCE}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: rowcast.v1",
        *fields,
    ]
    return "\r\n".join(lines).encode() + HEAD_END


def hello(token: str | None = None) -> bytes:
    return packed(HELLO, token, "load")


def start(
    stream: int, key: bytes, prompt: str = PROMPT, *, images: int = 1, stop_row: int | None = None
) -> bytes:
    options = [None, 7, 0, None, None, None, None, stop_row, None]
    return packed(START, stream, key, prompt, images, options)


def watch(stream: int, view_key: bytes, image: int = 0, rows: int = 0, crc32: int = 0) -> bytes:
    return packed(WATCH, stream, view_key, image, rows, crc32)


def cancel(stream: int) -> bytes:
    return packed(CANCEL, stream)


class Line:
    """A connection: ``status`` is that of its request (0: not answered), ``code`` that of its
    close (0: it is open; 1006: without one)."""

    __slots__ = ("_buffer", "code", "number", "opened", "said", "socket", "status")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.socket = sock
        self.opened = time.monotonic()
        self.status = 0
        self.code = 0
        self.said = 0  # messages received
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> Iterator[bytes]:
        """The messages that have come."""
        try:
            data = self.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.code = self.code or 1006
            return
        data = self._buffer + data
        at = 0
        if not self.status:
            end = data.find(HEAD_END)
            if end < 0:
                self._buffer = data
                return
            self.status = int(data[9:12])
            at = end + len(HEAD_END)
            if self.status != 101:
                self.code = self.status
                return
        while len(data) >= at + 2:
            length, begin = data[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if len(data) < begin + length:
                break
            opcode, payload = data[at] & 0x0F, data[begin : begin + length]
            at = begin + length
            if opcode < CLOSE:
                self.said += 1
                yield payload
            elif opcode == PING:
                self.send(masked(payload, PONG))
            elif opcode == CLOSE:
                self.code = int.from_bytes(payload[:2], "big") or 1005
        self._buffer = data[at:]


class Crowd:
    """Connections to one server, that are read together."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.address = parts.hostname, parts.port
        self.lines: dict[int, Line] = {}
        self._poll = select.epoll()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut(list(self.lines.values()))
        self._poll.close()

    def open(
        self, data: bytes, *, source: str = "", receive_buffer: int = 0, read: bool = True
    ) -> Line:
        """A connection on which ``data`` was sent; what comes is read by `frames`, if at all."""
        sock = socket.socket()
        if source:
            sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(self.address)
        sock.sendall(data)
        sock.setblocking(False)
        line = self.lines[sock.fileno()] = Line(sock.fileno(), sock)
        if read:
            self._poll.register(sock, select.EPOLLIN)
        return line

    def open_many(self, count: int, *data: bytes, said: int = 1, source: str = "") -> list[Line]:
        """Connections on which so many messages have come each, 60 s at most. The ``data`` is sent
        in turns, a piece a connection."""
        lines: list[Line] = []
        while len(lines) < count:
            batch = range(len(lines), min(count, len(lines) + BATCH))
            new = [self.open(data[number % len(data)], source=source) for number in batch]
            self.until(lambda new=new: all(line.said >= said or line.code for line in new))
            lines += new
        if refused := next((line for line in lines if line.code), None):
            raise RuntimeError(f"a connection was closed: {refused.status}, {refused.code}")
        return lines

    def until(self, condition: object, seconds: float = 60.0) -> None:
        """Read until something is so, and drop what is read."""
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            for _ in self.frames(0.05, once=True):
                pass
            if time.monotonic() > end:
                raise TimeoutError

    def frames(self, seconds: float, *, once: bool = False) -> Iterator[tuple[Line, bytes, float]]:
        """What comes in so many seconds: line, message, when. Pings are answered; lines that are
        closed are let go of. With ``once`` the first that there is is enough."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready = self._poll.poll(left, 256)
            for number, _ in ready:
                line = self.lines.get(number)
                if line is None:
                    continue
                when = time.monotonic()
                for payload in line.read():
                    yield line, payload, when
                if line.code:
                    self.cut([line])
            if once and ready:
                return

    def cut(self, lines: list[Line]) -> None:
        """Reset connections."""
        for line in lines:
            if self.lines.pop(line.number, None) is not None:
                line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                line.socket.close()
                line.code = line.code or 1006
