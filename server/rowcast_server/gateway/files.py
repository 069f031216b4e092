"""Detokenizer files over HTTP. They are named by their SHA-256 and never change, so they may be
cached for ever, and the name is their ETag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from .sending import FOR_EVER, FileSender, StoredFile

DETOKENIZER_PATH: Final = "detokenizer"
FILE_HEADERS: Final = {"Cache-Control": FOR_EVER, "Content-Type": "application/octet-stream"}

Compressed = Callable[[bytes, Path], Path | None]


def file_name(sha256: bytes, suffix: str = ".onnx") -> str:
    """The path of a detokenizer file, beside the WebSocket's or under the public URL."""
    return f"{DETOKENIZER_PATH}/{sha256.hex()}{suffix}"


class DetokenizerFiles:
    """Answers requests for ``files``, by SHA-256.

    ``compressed`` gives the gzip file of one of them, if there is one.
    """

    def __init__(
        self, files: Mapping[bytes, Path], compressed: Compressed, sender: FileSender
    ) -> None:
        self._by_name = {
            file_name(sha256, path.suffix): (sha256, path) for sha256, path in files.items()
        }
        self._compressed = compressed
        self._sender = sender

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The file that the path names. Raises HTTPNotFound."""
        found = self._by_name.get(request.path.lstrip("/"))
        if found is None:
            raise web.HTTPNotFound(text="no such file; `welcome` lists those there are\n")
        sha256, path = found
        file = StoredFile(path, sha256.hex(), FILE_HEADERS, self._compressed(sha256, path))
        return await self._sender.answer(request, file)
