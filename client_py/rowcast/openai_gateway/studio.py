"""The studio: ids to image files, in a bounded pool of threads of low priority.

The tiers of pixels are loaded once, for all requests. A preview that would have to wait is left
out, so that previews never keep a finished picture waiting, nor anything a row.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ..messages import Model
from ..picture import Picture
from ..pixels.loader import TierLoader
from ..pixels.network import Proxy
from ..pixels.time_lapse import final_image
from ..requests import Token

NICENESS: Final = 10  # of its threads, where threads have one (Linux): rows go before pixels
CLOSE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.05
DEFAULT_COMPRESSION: Final = 100


class Studio:
    """Paints pictures of the server at ``url``, ``workers`` at once.

    The arguments are those of `connect`. `load` comes first, as often as one likes.
    """

    def __init__(
        self,
        url: str,
        workers: int,
        cache: Path | str | None = None,
        allowed_hosts: tuple[str, ...] = (),
        proxy: Proxy = None,
    ) -> None:
        self._url = url
        self._cache = cache
        self._hosts = allowed_hosts
        self._proxy = proxy
        self._loaders: dict[str, tuple[bytes, TierLoader]] = {}  # by model, with its revision
        self._loading = asyncio.Lock()
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, "rowcast-paint", _give_way)
        self._under_way = 0

    async def load(self, model: Model, token: Token) -> TierLoader:
        """The tiers of a model, complete: fetched and loaded when they are first asked for.

        Raises DetokenizerError, ConnectionFailed.
        """
        async with self._loading:
            revision, loader = self._loaders.get(model.name, (b"", None))
            if loader is None or revision != model.revision:
                if loader is not None:  # of the model that the server had before
                    await asyncio.to_thread(loader.close)
                loader = TierLoader(
                    self._url, self._cache, self._hosts, threads=1, proxy=self._proxy, token=token
                )
                await asyncio.to_thread(loader.load, model)
                self._loaders[model.name] = model.revision, loader
            loader.go_on()
            while loader.detokenizer is None:
                loader.check_last()
                await asyncio.sleep(POLL_SECONDS)
        return loader

    @property
    def is_free(self) -> bool:
        """True if a picture would be painted at once."""
        return self._under_way < self._workers

    async def paint(
        self, loader: TierLoader, picture: Picture, form: str, compression: int | None
    ) -> str:
        """The picture as far as it is there, as an image file in base64.

        A complete one is decoded as the Python client decodes it. Raises DetokenizerError.
        """
        self._under_way += 1
        work = asyncio.get_running_loop().run_in_executor(
            self._pool, _image_file, loader, _copy(picture), form, compression
        )
        work.add_done_callback(self._painted)
        return await asyncio.shield(work)  # who leaves does not free a thread

    def _painted(self, _: object) -> None:
        self._under_way -= 1

    async def close(self) -> None:
        """Paint nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for _, loader in self._loaders.values():
            await asyncio.to_thread(loader.close)


def _copy(picture: Picture) -> Picture:
    """The picture as it is now: more rows arrive while it is painted."""
    held = Picture(picture.recipe, picture.codebook_size)
    held.ids[:] = picture.ids
    held.rows_held = picture.rows_held
    return held


def _image_file(loader: TierLoader, picture: Picture, form: str, compression: int | None) -> str:
    tier = loader.tier(is_whole=picture.complete)
    decoder = loader.palette if tier is None else tier.decoder
    assert decoder is not None  # `load` has waited for it
    file = io.BytesIO()
    image = final_image(picture, decoder)
    if form == "png":
        image.save(file, "PNG")
    else:
        quality = DEFAULT_COMPRESSION if compression is None else compression
        image.save(file, form.upper(), quality=quality)
    return base64.b64encode(file.getbuffer()).decode("ascii")


def _give_way() -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
