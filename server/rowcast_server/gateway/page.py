"""The page on which pictures form, the calculator at /cost, the client for other pages, and the
runtime that decodes there.

All are built from client_web by `make page` into the folder ``page`` beside this package, which a
wheel has and a checkout only once it was built. What is in it is known when the server starts.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web

from .files import Compressed
from .sending import FOR_EVER, FileSender, StoredFile

PAGE_FOLDER: Final = Path(__file__).parents[1] / "page"
DOCUMENTS: Final = {"": "index.html", "cost": "cost.html"}  # by the path that each has, alone
KEPT: Final = ("assets/", "runtime/")  # folders of files whose names change with their content
NO_PAGE: Final = (
    "This server has no page. `make page` builds it, where Node.js 20 or newer is; a wheel of "
    "rowcast has it; --no-page leaves it out.\n"
)
CONTENT_TYPES: Final = {  # browsers take modules and WebAssembly by these alone (nosniff)
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
# Scripts of this server alone. A share link may lead to another one, so connections may go there.
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; worker-src 'self' blob:; "
    "connect-src 'self' ws: wss: http: https:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",  # the address may hold a share link
    "X-Frame-Options": "SAMEORIGIN",
}


class Page:
    """Answers requests for the files of ``folder``, whose paths ``paths`` are; None has no page."""

    def __init__(self, folder: Path | None, compressed: Compressed, sender: FileSender) -> None:
        if folder is None:
            folder, found = Path(), []
        else:
            found = sorted(path for path in folder.rglob("*") if path.is_file())
        names = {document: name for name, document in DOCUMENTS.items()}
        relative = {path: path.relative_to(folder).as_posix() for path in found}
        self._files = {
            names.get(relative[path], relative[path]): path
            for path in found
            if path.suffix in CONTENT_TYPES
        }
        self._hashes: dict[Path, bytes] = {}
        self._compressed = compressed
        self._sender = sender

    @property
    def paths(self) -> list[str]:
        """Of the page, of the calculator beside it, and of each of their files."""
        return ["/", *(f"/{name}" for name in self._files if name)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The file that the path names. Raises HTTPNotFound."""
        name = request.path.lstrip("/")
        path = self._files.get(name)
        if path is None:
            raise web.HTTPNotFound(text=NO_PAGE)
        headers = {
            "Content-Type": CONTENT_TYPES[path.suffix],
            "Cache-Control": FOR_EVER if name.startswith(KEPT) else "no-cache",
        }
        if name in DOCUMENTS:
            headers |= PAGE_HEADERS
        if path not in self._hashes:
            self._hashes[path] = await asyncio.to_thread(hash_of, path)
        sha256 = self._hashes[path]
        built = path.with_name(f"{path.name}.gz")  # what a first visit needs comes compressed
        packed = built if built.is_file() else self._compressed(sha256, path)
        file = StoredFile(path, sha256.hex(), headers, packed)
        return await self._sender.answer(request, file)


def hash_of(path: Path) -> bytes:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
