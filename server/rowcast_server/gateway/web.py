"""The HTTP side of a server, over `aiohttp`: files, the state of pictures, and health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from ..clients import Clients, RateLimited, Visitor
from ..config import ServerConfig
from .files import DETOKENIZER_PATH, DetokenizerFiles
from .page import Page
from .picture_states import PICTURES_PATH, PictureStates
from .request_head import SHARED_HEADERS, RequestHead, RequestRefused, joined
from .visitors import Doorman, peer_of
from .watchdog import HURRIED_SECONDS, Left, library_log, prepare_socket

logger = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0  # for downloads that are under way; then as long until they are cut
IDLE_SECONDS: Final = 15.0  # between two requests, the second one's head included

METHODS: Final = "GET, HEAD, OPTIONS"
# Of a preflight (the Fetch standard's CORS protocol). `*` is for headers of a page's own; those
# before it are for browsers that do not know it, and Authorization is never meant by it.
PREFLIGHT_HEADERS: Final = {
    "Allow": METHODS,
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": "Authorization, If-Match, If-Modified-Since, If-None-Match, "
    "If-Range, Range, *",
    "Access-Control-Max-Age": "86400",
}
VISITOR: Final = web.RequestKey("visitor", Visitor)
ROUTE: Final = web.RequestKey("route", str)  # for the log: a path may hold a view key

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpSide:
    """Answers requests on connections that are given to it."""

    def __init__(self, app: web.Application, send_timeout: float) -> None:
        self._send_timeout = send_timeout
        self._transports: set[asyncio.Transport] = set()
        self._runner = web.AppRunner(
            app,
            logger=library_log(f"{__name__}.aiohttp"),
            access_log=logger,
            access_log_class=_Log,
            handle_signals=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=0.0,
            shutdown_timeout=CLOSE_SECONDS,
        )

    async def start(self) -> None:
        await self._runner.setup()

    async def close(self) -> None:
        await self._runner.cleanup()
        self._abort()  # what is closed, but has bytes that nobody reads

    def hurry(self) -> None:
        """Cut downloads soon that a `close` waits for."""
        asyncio.get_running_loop().call_later(HURRIED_SECONDS, self._abort)

    def _abort(self) -> None:
        for transport in tuple(self._transports):
            transport.abort()

    def take(self, transport: asyncio.Transport, data: bytes, visitor: Visitor, left: Left) -> None:
        """Have a connection that has sent ``data``, the first request."""
        assert self._runner.server is not None
        prepare_socket(transport, self._send_timeout)
        self._transports.add(transport)

        def lost() -> None:
            self._transports.discard(transport)
            left()

        counted = _Counted(self._runner.server(), lost)
        transport.set_protocol(counted)
        counted.connection_made(transport)
        counted.data_received(data)


class _Counted(asyncio.Protocol):
    """aiohttp's protocol of a connection, and word of its end."""

    def __init__(self, inner: asyncio.Protocol, left: Left) -> None:
        self._inner = inner
        self._left = left
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._left()


class Rules:
    """Who may ask for what: every request is checked, also those after a connection's first."""

    def __init__(self, config: ServerConfig, doorman: Doorman, clients: Clients) -> None:
        self._private_files = config.private_files and clients.access.asks
        self._asks = clients.access.asks
        self._doorman = doorman
        self._clients = clients

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request that may not be with its status."""
        if (resource := request.match_info.route.resource) is not None:
            request[ROUTE] = resource.canonical
        try:
            request[VISITOR] = self._doorman.visitor(_head(request), peer_of(request.transport))
            return await handler(request)
        except (RequestRefused, RateLimited) as refusal:
            return _refused(refusal)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            logger.exception("a request failed")
            return web.Response(status=500, text="internal error\n")

    def private(self, handler: Handler) -> Handler:
        """Only for whom a token admits, if files are private."""

        async def checked(request: web.Request) -> web.StreamResponse:
            self._check(request, self._private_files)
            return await handler(request)

        return checked

    def viewers(self, handler: Handler) -> Handler:
        """Only for who may watch; failures are counted."""

        async def checked(request: web.Request) -> web.StreamResponse:
            visitor = self._check(request, self._asks)
            if visitor.grant is not None and not visitor.grant.may_watch:
                raise RequestRefused(HTTPStatus.FORBIDDEN, "this token may not watch pictures")
            try:
                return await handler(request)
            except web.HTTPNotFound:
                self._clients.missed(visitor.address)
                raise

        return checked

    def _check(self, request: web.Request, asks: bool) -> Visitor:
        visitor: Visitor = request[VISITOR]
        if asks and visitor.grant is None:
            raise RequestRefused(
                HTTPStatus.UNAUTHORIZED, "this asks for a token, as Authorization: Bearer TOKEN"
            )
        return visitor


def make_app(
    files: DetokenizerFiles,
    pictures: PictureStates,
    page: Page,
    is_ready: Callable[[], bool],
    rules: Rules,
) -> web.Application:
    """The application: detokenizer files, states of pictures, the page, /livez and /readyz."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_: web.Request) -> web.Response:
        if not is_ready():
            return web.Response(status=503, text="starting or stopping\n")
        return web.Response(text="ready\n")

    app = web.Application(middlewares=[rules.middleware])
    app.on_response_prepare.append(_share)
    picture = f"/{PICTURES_PATH}/{{view_key}}/{{image:[0-9]{{1,5}}}}"
    routes: list[tuple[str, Handler]] = [
        (f"/{DETOKENIZER_PATH}/{{name}}", rules.private(files.answer)),
        (f"/{PICTURES_PATH}", rules.viewers(pictures.running)),
        (picture, rules.viewers(pictures.state)),
        (f"{picture}.rows", rules.viewers(pictures.rows)),
        ("/livez", live),
        ("/readyz", ready),
        *((path, page.answer) for path in page.paths),
    ]
    for path, handler in routes:
        app.router.add_get(path, handler)
        app.router.add_route("OPTIONS", path, _preflight)
    return app


class _Log(AbstractAccessLogger):
    """Requests by what they ask for."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info(
            "%s %s %s: %d, %s bytes, after %.2f s",
            request[VISITOR].address if VISITOR in request else peer_of(request.transport),
            request.method,
            request.get(ROUTE, "an unknown path"),
            response.status,
            response.body_length,
            time,
        )


async def _share(_: web.Request, response: web.StreamResponse) -> None:
    """Of every answer, errors included."""
    response.headers.update(SHARED_HEADERS, Server="rowcast")


async def _preflight(_: web.Request) -> web.Response:
    return web.Response(status=204, headers=PREFLIGHT_HEADERS)


def _refused(refusal: RequestRefused | RateLimited) -> web.Response:
    if isinstance(refusal, RateLimited):
        refusal = RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, refusal.reason, refusal.retry_after)
    response = web.Response(status=refusal.status, text=f"{refusal.text}\n", headers=refusal.fields)
    response.force_close()
    return response


def _head(request: web.Request) -> RequestHead:
    """The head of a request as ours. Raises RequestRefused for what `read_head` refuses."""
    fields = joined(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
    )
    if not request.raw_path.startswith("/") or request.body_exists:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a request here has a path and no body")
    return RequestHead(request.method, request.raw_path, fields)
