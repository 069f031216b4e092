"""Rowcast: an image that forms under the user's eyes, sent as rows of tokens, painted here.

>>> import rowcast
>>> async with rowcast.connect("ws://localhost:8765") as client:      # doctest: +SKIP
...     async for event in client.generate("a red house at sunset", images=4, seed=7):
...         event.image.save("forming.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncClient, connect
    from .artifacts import fetch
    from .canvas import Picture, Recipe, Sampling
    from .detokenizer import Detokenizer
    from .errors import RowcastError
    from .events import (
        Event,
        PictureAccepted,
        PictureDone,
        PictureQueued,
        PictureRepainted,
        RowsArrived,
    )
    from .messages import DoneReason, view_key
    from .mosaic import Mosaic
    from .replay import load_rows, save_rows
    from .sync import SyncClient
    from .sync import connect as connect_sync

# Imported at first use: `import rowcast` costs nothing.
_HOMES = {
    "AsyncClient": "aio",
    "Detokenizer": "detokenizer",
    "DoneReason": "messages",
    "Event": "events",
    "Mosaic": "mosaic",
    "Picture": "canvas",
    "PictureAccepted": "events",
    "PictureDone": "events",
    "PictureQueued": "events",
    "PictureRepainted": "events",
    "Recipe": "canvas",
    "RowcastError": "errors",
    "RowsArrived": "events",
    "Sampling": "canvas",
    "SyncClient": "sync",
    "connect": "aio",
    "connect_sync": "sync",
    "fetch": "artifacts",
    "load_rows": "replay",
    "save_rows": "replay",
    "view_key": "messages",
}

__all__ = [
    "AsyncClient",
    "Detokenizer",
    "DoneReason",
    "Event",
    "Mosaic",
    "Picture",
    "PictureAccepted",
    "PictureDone",
    "PictureQueued",
    "PictureRepainted",
    "Recipe",
    "RowcastError",
    "RowsArrived",
    "Sampling",
    "SyncClient",
    "connect",
    "connect_sync",
    "fetch",
    "load_rows",
    "save_rows",
    "view_key",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES[name]}", __name__)
    return getattr(module, "connect" if name == "connect_sync" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
