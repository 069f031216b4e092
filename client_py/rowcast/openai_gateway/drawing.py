"""Drawing for one request: a client of its own, whose rows become image files.

Leaving it early, as a request's end does when its caller goes, cancels the pictures: the client
does that when it is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ..aio import AsyncClient
from ..codes import DoneReason, ErrorCode
from ..errors import RequestRefused
from ..events import PictureAccepted, PictureDone, RowsArrived
from ..picture import Picture
from ..pixels.network import Proxy
from .answers import PING, ImageFacts
from .image_request import ImageRequest, check_for, size_of
from .studio import Studio

PING_SECONDS: Final = 15.0

Tell = Callable[[bytes], None]


@dataclass(frozen=True)
class Upstream:
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
    """The pictures of one request, drawn by an open ``client`` and painted in ``studio``.

    Raises BadRequest for what the server cannot draw.
    """

    def __init__(
        self, client: AsyncClient, studio: Studio, asked: ImageRequest, token: str | None
    ) -> None:
        model = client.session.model(asked.model)
        check_for(asked, model, client.session.welcome.limits.images)
        self._client = client
        self._studio = studio
        self._asked = asked
        self._model = model
        self._token = token
        self._told = 0  # previews
        tokens = model.rows * model.cols
        self.facts = ImageFacts(int(time.time()), size_of(model), asked.form, tokens)

    async def images(self) -> list[tuple[str, int]]:
        """All finished pictures as files in base64, with their seeds. Raises RowcastError."""
        asked = self._asked
        ends = await self._client.pictures(asked.prompt, asked.images, **asked.options)
        for end in ends:
            _check_end(end)
        files = await asyncio.gather(*(self._paint(end.picture) for end in ends))
        return [(file, end.seed) for file, end in zip(files, ends, strict=True)]

    async def events(self) -> AsyncGenerator[bytes]:
        """Previews as it forms, then the finished picture, as server-sent events; a ping once it is
        accepted, and whenever nothing else was there for a while.

        A preview shows the newest rows. One is left out where the painters have no time for it
        before the next, or the end. Raises RowcastError.
        """
        news: asyncio.Queue[bytes] = asyncio.Queue()
        drawing = asyncio.create_task(self._draw(news.put_nowait))
        drawing.add_done_callback(lambda _: news.put_nowait(b""))
        try:
            while True:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        event = await news.get()
                except TimeoutError:
                    event = PING
                if not event:
                    break
                yield event
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
        drawing.result()

    async def _draw(self, tell: Tell) -> None:
        asked, previews = self._asked, self._asked.partial_images or 0
        painting: asyncio.Task[None] | None = None
        passed = 0
        try:
            async with aclosing(self._client.generate(asked.prompt, **asked.options)) as events:
                async for event in events:
                    match event:
                        case PictureAccepted():
                            tell(PING)  # so that the answer begins
                        case RowsArrived():
                            mark = _passed(event.picture, previews)
                            is_idle = painting is None or painting.done()
                            if mark > passed and is_idle and self._studio.is_free:
                                passed = mark
                                painting = asyncio.create_task(self._preview(event.picture, tell))
                        case PictureDone():
                            _check_end(event)
                            if painting is not None:
                                await painting
                            file = await self._paint(event.picture)
                            tell(self.facts.completed(file, event.seed))
        finally:
            if painting is not None:
                painting.cancel()

    async def _preview(self, picture: Picture, tell: Tell) -> None:
        tell(self.facts.partial(await self._paint(picture), self._told))
        self._told += 1

    async def _paint(self, picture: Picture) -> str:
        loader = await self._studio.load(self._model, self._token)
        asked = self._asked
        return await self._studio.paint(loader, picture, asked.form, asked.output_compression)


def _passed(picture: Picture, previews: int) -> int:
    """How many of the marks at equal distances in the grid the rows have passed; none at its
    end."""
    if picture.complete:
        return 0
    return picture.rows_held * (previews + 1) // picture.recipe.rows


def _check_end(end: PictureDone) -> None:
    if end.reason != DoneReason.COMPLETE:
        why = f"the picture ended early: {end.reason}"
        raise RequestRefused(ErrorCode.INTERNAL, why, index=end.index)
