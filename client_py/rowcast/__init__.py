"""Rowcast: an image that forms under the user's eyes, sent as rows of tokens, painted here.

>>> import rowcast
>>> async with rowcast.connect("ws://localhost:8765") as client:      # doctest: +SKIP
...     async for event in client.generate("a red house at sunset", images=4, seed=7):
...         event.image.save("forming.png")
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which would take most of the time of this import
if TYPE_CHECKING:  # for type checkers and editors; `_HOMES` is what runs
    from typing import Any

    from . import sync as _sync
    from .aio import AsyncClient as AsyncClient
    from .aio import connect as connect
    from .errors import RowcastError as RowcastError
    from .events import Event as Event
    from .events import PictureAccepted as PictureAccepted
    from .events import PictureDone as PictureDone
    from .events import PictureFailed as PictureFailed
    from .events import PictureQueued as PictureQueued
    from .events import PictureRepainted as PictureRepainted
    from .events import RowsArrived as RowsArrived
    from .messages import DoneReason as DoneReason
    from .messages import view_key as view_key
    from .picture import Picture as Picture
    from .picture import Recipe as Recipe
    from .picture import Sampling as Sampling
    from .pixels.artifacts import fetch as fetch
    from .pixels.detokenizer import Detokenizer as Detokenizer
    from .pixels.images import save_gif as save_gif
    from .pixels.images import save_png as save_png
    from .pixels.mosaic import Mosaic as Mosaic
    from .pixels.time_lapse import final_image as final_image
    from .pixels.time_lapse import time_lapse as time_lapse
    from .rows_file import load_rows as load_rows
    from .rows_file import save_rows as save_rows
    from .share_link import ShareLink as ShareLink
    from .sync import SyncClient as SyncClient

    connect_sync = _sync.connect
    __version__: str

# Imported at first use: `import rowcast` costs nothing.
_NAMES = {
    "aio": "AsyncClient",
    "errors": "RowcastError",
    "events": "Event PictureAccepted PictureDone PictureFailed PictureQueued PictureRepainted "
    "RowsArrived",
    "messages": "DoneReason view_key",
    "picture": "Picture Recipe Sampling",
    "pixels.artifacts": "fetch",
    "pixels.detokenizer": "Detokenizer",
    "pixels.images": "save_gif save_png",
    "pixels.mosaic": "Mosaic",
    "pixels.time_lapse": "final_image time_lapse",
    "rows_file": "load_rows save_rows",
    "share_link": "ShareLink",
    "sync": "SyncClient connect_sync",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_HOMES, "connect"]


class _Opening:
    """The asynchronous client of a server, for ``async with``; its arguments are `AsyncClient`'s.

    It is loaded and made where it is entered, in a thread: the event loop goes on meanwhile.
    """

    _client: AsyncClient | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments, self._options = arguments, options

    async def __aenter__(self) -> AsyncClient:
        from asyncio import to_thread

        client = await to_thread(self._made)
        return await client.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._made().__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._made(), name)

    def _made(self) -> AsyncClient:
        if self._client is None:
            from .aio import AsyncClient

            self._client = AsyncClient(*self._arguments, **self._options)
        return self._client


if not TYPE_CHECKING:
    connect = _Opening


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata  # here: it takes longer than all else

        try:
            return metadata.version(__name__)
        except metadata.PackageNotFoundError:  # run from its sources
            return "unknown"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f".{_HOMES[name]}", __name__)
    return getattr(module, "connect" if name == "connect_sync" else name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
