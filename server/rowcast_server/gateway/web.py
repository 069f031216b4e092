"""The HTTP side of a server: detokenizer files and health, over aiohttp.

Files are named by their SHA-256 and never change, so they may be cached for ever. Ranges and
conditional requests are aiohttp's. What is asked for whole may go out compressed (RFC 9110 section
8.4.1); a range is always one of the file itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

logger = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0  # for downloads that are under way; then as long until they are cut
# Not aiohttp's %b: of a file, which the system sends by itself, it counts the headers alone.
LOG_FORMAT: Final = "%a %r: %s of %{Content-Length}o bytes, after %Tf s"

DETOKENIZER_PATH = "detokenizer"

FILE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Type": "application/octet-stream",
    "Vary": "Accept-Encoding",
}
SHARED_HEADERS = {  # any page may load the files, also an isolated one (COEP: require-corp)
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Encoding, Content-Length, "
    "Content-Range, ETag",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
METHODS: Final = "GET, HEAD, OPTIONS"
# Of a preflight (the Fetch standard's CORS protocol). `*` is for headers of a page's own; those
# before it are for browsers that do not know it.
PREFLIGHT_HEADERS = {
    "Allow": METHODS,
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": "If-Match, If-Modified-Since, If-None-Match, If-Range, Range, "
    "*",
    "Access-Control-Max-Age": "86400",
}

Compressed = Callable[[bytes, Path], Path | None]


async def _share(_: web.Request, response: web.StreamResponse) -> None:
    """Of every answer, errors included."""
    response.headers.update(SHARED_HEADERS)
    if response.headers.get("Content-Encoding"):
        # Ranges are the file's own, so nobody may ask for one by this answer's validators.
        for name in ("ETag", "Last-Modified"):
            response.headers.pop(name, None)
        response.headers["Accept-Ranges"] = "none"


async def _preflight(_: web.Request) -> web.Response:
    return web.Response(status=204, headers=PREFLIGHT_HEADERS)


def takes_gzip(accept_encoding: str) -> bool:
    """True if an Accept-Encoding header (RFC 9110 section 12.5.3) names gzip, not at weight 0."""
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name in ("gzip", "x-gzip"):
            return not weight or weight.strip("0.") != ""
    return False


def file_name(sha256: bytes, suffix: str = ".onnx") -> str:
    """The path of a detokenizer file under the public URL."""
    return f"{DETOKENIZER_PATH}/{sha256.hex()}{suffix}"


def make_app(
    files: Mapping[bytes, Path],
    is_ready: Callable[[], bool],
    compressed: Compressed = lambda sha256, path: None,
) -> web.Application:
    """The application that serves ``files`` by SHA-256, /livez and /readyz.

    ``compressed`` gives the gzip file of one of them, if there is one.
    """
    by_name = {file_name(sha256, path.suffix): (sha256, path) for sha256, path in files.items()}

    async def detokenizer(request: web.Request) -> web.StreamResponse:
        found = by_name.get(request.path.lstrip("/"))
        if found is None:
            raise web.HTTPNotFound(text="no such file; `welcome` lists those there are\n")
        asked = request.headers
        if "Range" not in asked and takes_gzip(asked.get("Accept-Encoding", "")):
            packed = compressed(*found)
            if packed is not None:
                return web.FileResponse(packed, headers=FILE_HEADERS | {"Content-Encoding": "gzip"})
        return web.FileResponse(found[1], headers=FILE_HEADERS)

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_: web.Request) -> web.Response:
        if not is_ready():
            return web.Response(status=503, text="starting or stopping\n")
        return web.Response(text="ready\n")

    app = web.Application()
    app.on_response_prepare.append(_share)
    for path, handler in (
        (f"/{DETOKENIZER_PATH}/{{name}}", detokenizer),
        ("/livez", live),
        ("/readyz", ready),
    ):
        app.router.add_get(path, handler)
        app.router.add_route("OPTIONS", path, _preflight)
    return app


class WebServer:
    """An HTTP server of an application."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(
            app, access_log=logger, access_log_format=LOG_FORMAT, shutdown_timeout=CLOSE_SECONDS
        )
        self._host = host
        self._port = port

    @property
    def port(self) -> int:
        """The port that it listens on. Raises RuntimeError before `start`."""
        if not self._runner.addresses:
            raise RuntimeError("the HTTP server has not been started")
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError where the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self.port

    async def close(self) -> None:
        await self._runner.cleanup()
