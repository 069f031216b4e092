"""How pictures are, over HTTP: for clients whose WebSocket died, or that can hold none.

One by its view key, as `watch` is (R-31), under the same rules (R-125); or all that are not ended,
without their names (R-127).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Protocol

from aiohttp import web
from rowcast.messages import KEY_BYTES, MAX_STREAM, DoneReason
from rowcast.picture import UNKNOWN_SAMPLING, Recipe
from rowcast.picture import Picture as SavedPicture
from rowcast.rows_file import encode_picture

from ..cluster.seam import Capacity
from ..errors import Refused
from ..picture import Picture

PICTURES_PATH = "pictures"
NO_STORE = {"Cache-Control": "no-store"}


class Pictures(Protocol):
    """The book of pictures as it is looked at from here (jobs.py)."""

    @property
    def running(self) -> Iterable[Picture]:
        """Those that have not ended, the oldest first."""

    def seek(self, name: tuple[bytes, int], then: Callable[[], None]) -> bool:
        """True if it is asked elsewhere; ``then`` is called once `find` can tell."""

    def find(self, key: bytes, image: int, rows_held: int, crc32: int) -> Picture:
        """Raises Refused."""


class PictureStates:
    """Answers requests for /pictures, /pictures/VIEWKEY/IMAGE and /pictures/VIEWKEY/IMAGE.rows."""

    def __init__(self, pictures: Pictures, engines: Capacity) -> None:
        self._pictures = pictures
        self._engines = engines

    async def running(self, request: web.Request) -> web.Response:
        """What is drawn, and how many wait, as JSON."""
        now = asyncio.get_running_loop().time()
        slots, places = self._engines.capacity
        replicas = [asdict(replica) for replica in self._engines.replicas]
        running = tuple(each for each in self._pictures.running if not each.is_mirror)
        drawn = [
            {
                "rows": picture.rows,
                "stop_row": picture.order.stop_row,
                "seconds": round(now - picture.drawn_since, 3),
            }
            for picture in running
            if picture.drawn_since is not None
        ]
        return web.json_response(
            {
                "slots": slots,
                "places": places,
                "drawing": drawn,
                "waiting": len(running) - len(drawn),
                **({"replicas": replicas} if replicas else {}),
            },
            headers=NO_STORE,
        )

    async def state(self, request: web.Request) -> web.Response:
        """Rows so far, what becomes of it, and its place in the queue, as JSON."""
        picture = await self._found(request)
        order, reason = picture.order, picture.reason
        if reason is None:
            state = "waiting" if picture.place != 0 else "drawing"
        else:
            state = "failed" if isinstance(reason, Refused) else str(reason)
        return web.json_response(
            {
                "state": state,
                "rows": picture.rows,
                "position": picture.place or 0,
                "image": picture.name[1],
                "model": order.model.name,
                "revision": order.model.revision.hex(),
                "seed": order.seed,
                "grid": [order.model.rows, order.model.cols],
                "stop_row": order.stop_row,
            },
            headers=NO_STORE,
        )

    async def rows(self, request: web.Request) -> web.Response:
        """The .rows file of a picture as far as it is: without prompt and sampling (R-102)."""
        picture = await self._found(request)
        model = picture.order.model
        saved = SavedPicture(
            Recipe(
                model.name,
                model.revision,
                "",
                picture.order.seed,
                picture.name[1],
                UNKNOWN_SAMPLING,
                model.rows,
                model.cols,
                model.id_bytes,
                None,
            )
        )
        if picture.ids:
            saved.add_rows(0, bytes(picture.ids))
        if isinstance(picture.reason, DoneReason):
            saved.reason = picture.reason
        return web.Response(
            body=encode_picture(saved),
            content_type="application/octet-stream",
            headers=NO_STORE,
        )

    async def _found(self, request: web.Request) -> Picture:
        """The picture that the path names. Raises HTTPNotFound."""
        try:
            key = bytes.fromhex(request.match_info["view_key"])
            image = int(request.match_info["image"])
            if len(key) == KEY_BYTES and image <= MAX_STREAM:
                asked = asyncio.Event()
                if self._pictures.seek((key, image), asked.set):
                    await asked.wait()
                return self._pictures.find(key, image, 0, 0)
        except (ValueError, Refused):
            pass
        raise web.HTTPNotFound(text="no such picture, or it has expired\n", headers=NO_STORE)
