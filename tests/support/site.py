"""A web server of one file whose every answer a test says, good or bad."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rowcast.messages import DetokenizerFile

CONTENT = bytes(range(256)) * 1_000
SHA256 = hashlib.sha256(CONTENT).digest()

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


class Site:
    """A web server whose every answer is ``answer``'s."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.url = f"{scheme}://127.0.0.1:{port}/detokenizer.onnx"
        self.requests = 0
        self.ranges: list[str | None] = []

    def file(self, url: str | None = None, size: int = len(CONTENT)) -> DetokenizerFile:
        return DetokenizerFile("full", "fp32", size, SHA256, url or self.url)


@contextmanager
def site(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    class Quiet(Handler):
        def do_GET(self) -> None:
            made.requests += 1
            made.ranges.append(self.headers.get("Range"))
            with suppress(BrokenPipeError, ConnectionResetError):  # the client may leave
                answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    made = Site(server.server_port, "http" if tls is None else "https")
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sends(
    content: bytes, announced: int | None = None, status: int = 200, **headers: str
) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(announced or len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def sends_ranges(cuts: list[int]) -> Answer:
    """CONTENT, or the range that is asked for; the first answers end after so many bytes each."""

    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        rest = CONTENT[first:]
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(rest)))
        handler.end_headers()
        handler.wfile.write(rest[: cuts.pop(0)] if cuts else rest)

    return answer
