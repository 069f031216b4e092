"""The application, over `aiohttp`: OpenAI's paths, who may call them, and errors in their shape.

An answer that a caller no longer waits for is cancelled, and its pictures with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from ..errors import RowcastError
from .answers import Problem, event, model_answer, problem_of
from .drawing import Drawing, Upstream
from .image_request import read_request
from .studio import Studio

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 65_536  # of a body
ANY_ORIGIN: Final = "*"
CLOSE_SECONDS: Final = 2.0  # for answers that are under way
PREFLIGHT_SECONDS: Final = "86400"
NOT_HERE: Final = (
    "a rowcast server draws pictures from text and from rows of tokens, not from other pictures"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """Answers requests: what is asked for is drawn by ``upstream`` and painted in ``studio``.

    Pages of ``origins`` may ask too (``*``: of everywhere).
    """

    def __init__(self, upstream: Upstream, studio: Studio, origins: Collection[str] = ()) -> None:
        self._upstream = upstream
        self._studio = studio
        self._origins = origins
        self._created = int(time.time())

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(middlewares=[self._guarded], client_max_size=MOST_BYTES)
        app.on_response_prepare.append(_name)
        app.router.add_post("/v1/images/generations", self._generate)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{model}", self._model)
        for path in ("/v1/images/edits", "/v1/images/variations"):
            app.router.add_post(path, _not_here)
        app.router.add_get("/livez", _live)
        return app

    async def preload(self) -> None:
        """Fetch the tiers of the server's first model, so that the first caller does not wait for
        them. Raises RowcastError."""
        async with self._upstream.client(None) as client:
            await self._studio.load(client.session.model(), self._upstream.token)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer whom we may, and tell errors in OpenAI's shape."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not {origin, ANY_ORIGIN}.intersection(self._origins):
            text = f"pages of {origin} may not call this; --allow-origin admits them"
            return _told(Problem(HTTPStatus.FORBIDDEN, text))
        if origin is not None and request.method == hdrs.METH_OPTIONS:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=_preflight(request, origin))
        try:
            response = await handler(request)
        except RowcastError as error:
            response = _told(problem_of(error))
        except web.HTTPException as error:
            response = _told(_problem_of_http(error, request))
        except ConnectionError:
            raise  # the caller has gone
        except Exception:
            logger.exception("a request failed")
            response = _told(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error"))
        if origin is not None and not response.prepared:
            response.headers.update(_shared(origin))
        return response

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = read_request(await request.read())
        token = _token(request)
        async with self._upstream.client(token) as client:
            drawing = Drawing(client, self._studio, asked, token)
            if not asked.stream:
                return _json(drawing.facts.answer(await drawing.images()))
            async with aclosing(drawing.events()) as events:
                return await _streamed(request, events)

    async def _models(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": await self._served(request)})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["model"]
        for model in await self._served(request):
            if model["id"] == name:
                return _json(model)
        return _told(
            Problem(HTTPStatus.NOT_FOUND, f"there is no model {name!r}", "model_not_found")
        )

    async def _served(self, request: web.Request) -> list[dict[str, Any]]:
        async with self._upstream.client(_token(request)) as client:
            return [model_answer(each, self._created) for each in client.session.welcome.models]


@asynccontextmanager
async def listening(gateway: Gateway, host: str, port: int) -> AsyncIterator[str]:
    """Answer at an address, port 0 is any; yields the base URL for an SDK.

    Raises RowcastError where the address cannot be had.
    """
    runner = web.AppRunner(
        gateway.app(),
        handle_signals=False,
        handler_cancellation=True,  # of an answer whose caller has gone
        access_log=None,
        shutdown_timeout=CLOSE_SECONDS,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            words = error.strerror or error
            raise RowcastError(f"--host {host} --port {port}: {words}") from error
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def _streamed(request: web.Request, events: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Answer with events. What fails before the first of them is raised, and later on told as the
    last."""
    first = await anext(events)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",  # of nginx, which else keeps events until many are there
        }
    )
    if (origin := request.headers.get(hdrs.ORIGIN)) is not None:
        response.headers.update(_shared(origin))
    await response.prepare(request)
    await response.write(first)
    try:
        async for each in events:
            await response.write(each)
    except RowcastError as error:
        await response.write(event("error", problem_of(error).body))
    await response.write_eof()
    return response


async def _name(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "rowcast"


async def _not_here(_: web.Request) -> web.Response:
    return _told(Problem(HTTPStatus.NOT_FOUND, NOT_HERE, "not_supported"))


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="live\n")


def _token(request: web.Request) -> str | None:
    """The caller's token (RFC 6750 section 2.1); None where there is none."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _told(problem: Problem) -> web.Response:
    response = _json(problem.body)
    response.set_status(problem.status)
    response.headers.update(problem.headers)
    return response


def _problem_of_http(error: web.HTTPException, request: web.Request) -> Problem:
    match error:
        case web.HTTPNotFound():
            text = f"there is no {request.path}; there are /v1/images/generations and /v1/models"
        case web.HTTPMethodNotAllowed():
            text = f"{request.path} takes {', '.join(sorted(error.allowed_methods))}"
        case web.HTTPRequestEntityTooLarge():
            text = f"a body has at most {MOST_BYTES:,} bytes"
        case _:
            text = error.reason
    return Problem(HTTPStatus(error.status), text)


def _shared(origin: str) -> dict[str, str]:
    """Of every answer to a page's script (the Fetch standard's CORS protocol)."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After, x-should-retry",
        "Vary": "Origin",
    }


def _preflight(request: web.Request, origin: str) -> dict[str, str]:
    return _shared(origin) | {
        "Access-Control-Allow-Methods": "GET, POST",
        # Whatever is asked for, as the SDK's X-Stainless-* are many; Authorization is never in `*`
        "Access-Control-Allow-Headers": request.headers.get(
            hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "Authorization, Content-Type"
        ),
        "Access-Control-Max-Age": PREFLIGHT_SECONDS,
    }
