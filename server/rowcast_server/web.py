"""The HTTP side of a server: detokenizer files and health, over aiohttp.

Files are named by their SHA-256 and never change, so they may be cached for ever. Ranges and
conditional requests are aiohttp's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

DETOKENIZER_PATH = "detokenizer"

FILE_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Type": "application/octet-stream",
}
SHARED_HEADERS = {  # any page may load the files, also an isolated one (COEP: require-corp)
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


@web.middleware
async def _share(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(SHARED_HEADERS)
        raise
    response.headers.update(SHARED_HEADERS)
    return response


def file_name(sha256: bytes, suffix: str = ".onnx") -> str:
    """The path of a detokenizer file under the public URL."""
    return f"{DETOKENIZER_PATH}/{sha256.hex()}{suffix}"


def make_app(files: Mapping[bytes, Path], is_ready: Callable[[], bool]) -> web.Application:
    """The application that serves ``files`` by SHA-256, /livez and /readyz."""
    by_name = {file_name(sha256, path.suffix): path for sha256, path in files.items()}

    async def detokenizer(request: web.Request) -> web.StreamResponse:
        path = by_name.get(request.path.lstrip("/"))
        if path is None:
            raise web.HTTPNotFound(text="no such file; `welcome` lists those there are\n")
        return web.FileResponse(path, headers=FILE_HEADERS)

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_: web.Request) -> web.Response:
        if not is_ready():
            return web.Response(status=503, text="starting or stopping\n")
        return web.Response(text="ready\n")

    app = web.Application(middlewares=[_share])
    app.router.add_get(f"/{DETOKENIZER_PATH}/{{name}}", detokenizer)
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    return app


class WebServer:
    """An HTTP server of an application."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None)
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
