"""How a picture is, over HTTP (R-125): for clients whose WebSocket died, or that can hold none.

By the view key, as `watch` is (R-31), under the same rules.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from rowcast.messages import KEY_BYTES, MAX_STREAM, DoneReason
from rowcast.picture import UNKNOWN_SAMPLING, Recipe
from rowcast.picture import Picture as SavedPicture
from rowcast.rows_file import encode_picture

from ..errors import Refused
from ..jobs import Picture

PICTURES_PATH = "pictures"
NO_STORE = {"Cache-Control": "no-store"}

# Given view key and image, rows held and their checksum; raises Refused. As `JobBook.find`.
Find = Callable[[bytes, int, int, int], Picture]


class PictureStates:
    """Answers requests for /pictures/VIEWKEY/IMAGE and /pictures/VIEWKEY/IMAGE.rows."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def state(self, request: web.Request) -> web.Response:
        """Rows so far, what becomes of it, and its place in the queue, as JSON."""
        picture = self._found(request)
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
        picture = self._found(request)
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

    def _found(self, request: web.Request) -> Picture:
        """The picture that the path names. Raises HTTPNotFound."""
        try:
            key = bytes.fromhex(request.match_info["view_key"])
            image = int(request.match_info["image"])
            if len(key) == KEY_BYTES and image <= MAX_STREAM:
                return self._find(key, image, 0, 0)
        except (ValueError, Refused):
            pass
        raise web.HTTPNotFound(text="no such picture, or it has expired\n", headers=NO_STORE)
