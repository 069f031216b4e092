"""Drawing for one request: a client of its own, whose rows become image files.

Leaving it early, as a request's end does when its caller goes, cancels the pictures: the client
does that when it is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..aio import AsyncClient
from ..codes import DoneReason
from ..errors import RequestRefused, RowcastError
from ..events import PictureDone, RowsArrived
from ..messages import Model
from ..picture import Picture
from ..pixels.loader import TierLoader
from ..pixels.network import Proxy
from .answers import ImageFacts
from .image_request import ImageRequest, check_for, size_of
from .studio import Studio


@dataclass(frozen=True)
class Server:
    """The server that draws: its address, the token to draw with (None: that of each request), and
    the proxy that it is reached by."""

    url: str
    token: str | None = None
    proxy: Proxy = None

    @asynccontextmanager
    async def client(self, token: str | None) -> AsyncIterator[AsyncClient]:
        """A client for one request. A full queue is told at once. Raises ConnectionFailed."""
        client = AsyncClient(
            self.url,
            token=self.token or token,
            decode=False,
            wait_when_busy=0,
            proxy=self.proxy,
        )
        async with client:
            yield client


class Drawing:
    """The pictures of one request, drawn by ``client`` and painted in ``studio``."""

    def __init__(self, client: AsyncClient, studio: Studio, asked: ImageRequest) -> None:
        self._client = client
        self._studio = studio
        self._asked = asked
        self._loader: TierLoader
        self.facts: ImageFacts

    async def begin(self, token: str | None) -> None:
        """Check what is asked for. Raises RowcastError."""
        model = _served(self._client, self._asked.model)
        check_for(self._asked, model, self._client.session.welcome.limits.images)
        size, tokens = size_of(model), model.rows * model.cols
        self.facts = ImageFacts(int(time.time()), size, self._asked.form, tokens)
        self._loader = await self._studio.load(model, token)

    async def images(self) -> list[tuple[str, int]]:
        """All finished pictures as files in base64, with their seeds. Raises RowcastError."""
        asked = self._asked
        ends = await self._client.pictures(asked.prompt, asked.images, **asked.options)
        for end in ends:
            _check_end(end)
        files = await asyncio.gather(*(self._paint(end.picture) for end in ends))
        return [(file, end.seed) for file, end in zip(files, ends, strict=True)]

    async def events(self) -> AsyncGenerator[bytes]:
        """Previews as it forms, then the finished picture, as server-sent events.

        A preview shows the newest rows. One is left out where the painters have no time for it
        before the next, or the end. Raises RowcastError.
        """
        asked, previews = self._asked, self._asked.partial_images or 0
        painting: asyncio.Task[str] | None = None
        number = told = 0
        rows = self._client.generate(asked.prompt, **asked.options)
        try:
            waiting = asyncio.ensure_future(anext(rows))
            while True:
                awaited = {waiting} if painting is None else {waiting, painting}
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                if painting is not None and painting.done():
                    yield self.facts.partial(painting.result(), told)
                    told, painting = told + 1, None
                if not waiting.done():
                    continue
                event = waiting.result()
                if isinstance(event, PictureDone):
                    _check_end(event)
                    yield self.facts.completed(await self._paint(event.picture), event.seed)
                    return
                waiting = asyncio.ensure_future(anext(rows))
                if isinstance(event, RowsArrived):
                    passed = _passed(event.picture, previews)
                    if passed > number and painting is None and self._studio.is_free:
                        number = passed
                        painting = asyncio.create_task(self._paint(event.picture))
        finally:
            for task in (waiting, painting):
                if task is not None and not task.done():
                    task.cancel()
            await asyncio.gather(waiting, *([painting] if painting else []), return_exceptions=True)
            await rows.aclose()

    async def _paint(self, picture: Picture) -> str:
        asked = self._asked
        return await self._studio.paint(
            self._loader, picture, asked.form, asked.output_compression
        )


def _served(client: AsyncClient, name: str | None) -> Model:
    """The model that is asked for. Raises InvalidRequest."""
    return client.session.model(name)


def _passed(picture: Picture, previews: int) -> int:
    """How many of the marks at equal distances in the grid the rows have passed; none at its
    end."""
    if picture.complete:
        return 0
    return picture.rows_held * (previews + 1) // picture.recipe.rows


def _check_end(end: PictureDone) -> None:
    if end.reason != DoneReason.COMPLETE:
        raise RequestRefused("internal", f"the picture ended early: {end.reason}", index=end.index)


async def models(server: Server, token: str | None) -> list[Model]:
    """The models of a server. Raises RowcastError."""
    async with server.client(token) as client:
        return client.session.welcome.models


__all__ = ["Drawing", "RowcastError", "Server", "models"]
