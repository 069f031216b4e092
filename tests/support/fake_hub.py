"""A hub on a real socket: the few answers that huggingface_hub needs to fetch a file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


class FakeHub:
    """Serves ``files``; may cut an answer short once, or send other bytes than it announced."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.cut_after: int | None = None  # bytes of the next body, then the link breaks
        self.damage: str | None = None  # the file whose bytes are not what was announced
        self.requests: list[tuple[str, str, str | None]] = []  # method, file, range
        self.url = ""


@contextmanager
def fake_hub(files: Mapping[str, bytes]) -> Iterator[FakeHub]:
    hub = FakeHub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            name = self.path.partition("/resolve/main/")[2] or self.path.rpartition("/")[2]
            asked = self.headers.get("Range")
            hub.requests.append((self.command, name, asked))
            if name not in hub.files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = hub.files[name]
            # git's own hash for text, SHA-256 for large files
            kind = "sha256" if name.endswith(".pt") else "sha1"
            etag = hashlib.new(kind, content).hexdigest()
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            rest = content[start:]
            self.send_response(206 if asked else 200)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(rest)))
            if asked:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.end_headers()
            if not body:
                return
            if hub.damage == name:
                rest = bytes(len(rest))
            if hub.cut_after is not None and len(rest) > hub.cut_after:
                rest, hub.cut_after = rest[: hub.cut_after], None
                self.wfile.write(rest)
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
