"""Files of the disk as answers of HTTP: whole, in part or compressed, at a pace that is watched.

What is asked for whole may go out compressed (RFC 9110 section 8.4.1); a range is always one of the
file itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ETag, hdrs, web

CHUNK_BYTES: Final = 65_536
FOR_EVER: Final = "public, max-age=31536000, immutable"  # of what its name says


@dataclass(frozen=True)
class StoredFile:
    """A file, its ETag, the header fields of its answers, and its gzip form, if it has one."""

    path: Path
    etag: str
    headers: Mapping[str, str]
    packed: Path | None = None


def takes_gzip(accept_encoding: str) -> bool:
    """True if an Accept-Encoding header (RFC 9110 section 12.5.3) names gzip, not at weight 0."""
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name in ("gzip", "x-gzip"):
            return not weight or weight.strip("0.") != ""
    return False


class FileSender:
    """Answers requests with files. A client has ``send_timeout`` seconds to take each piece of
    64 KiB, or is cut."""

    def __init__(self, send_timeout: float) -> None:
        self._send_timeout = send_timeout

    async def answer(self, request: web.Request, file: StoredFile) -> web.StreamResponse:
        """The file. Raises what RFC 9110 has for a range or a condition that cannot be met, and
        HTTPNotFound where it is gone."""
        asked, path, etag = request.headers, file.path, ETag(file.etag)
        headers = {**file.headers, "Vary": "Accept-Encoding"}
        is_whole = hdrs.RANGE not in asked
        if file.packed and is_whole and takes_gzip(asked.get(hdrs.ACCEPT_ENCODING, "")):
            path, etag = file.packed, ETag(f"{file.etag}-gzip")
            headers |= {"Content-Encoding": "gzip", "Accept-Ranges": "none"}
        if _names(request.if_none_match, etag):
            return _with(web.Response(status=304, headers=headers), etag)
        if request.if_match is not None and not _names(request.if_match, etag):
            raise web.HTTPPreconditionFailed
        try:
            opened = path.open("rb")
        except OSError as error:  # swept or removed under us
            raise web.HTTPNotFound(
                text="this file is gone; the server has to be restarted\n"
            ) from error
        with opened:
            size = path.stat().st_size
            part = _range_of(request, etag, size)
            first, end = part or (0, size)
            response = web.StreamResponse(headers=headers)
            if part:
                response.set_status(206)
                response.headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
            response.headers.setdefault("Accept-Ranges", "bytes")
            response.content_length = end - first
            _with(response, etag)
            await response.prepare(request)
            if request.method == hdrs.METH_HEAD:
                return response
            opened.seek(first)
            while first < end:
                piece = await asyncio.to_thread(opened.read, min(CHUNK_BYTES, end - first))
                first += len(piece)
                # Where the file is shorter than it was, the client sees that it is cut.
                if not piece or not await self._taken(request, response, piece):
                    break
        return response

    async def _taken(
        self, request: web.Request, response: web.StreamResponse, piece: bytes
    ) -> bool:
        """False if the client has left, or was cut as it did not take the piece in time."""
        try:
            async with asyncio.timeout(self._send_timeout):
                await response.write(piece)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            return False
        except ConnectionError:
            return False
        return True


def _with(response: web.StreamResponse, etag: ETag) -> web.StreamResponse:
    response.etag = etag
    return response


def _names(etags: tuple[ETag, ...] | None, etag: ETag) -> bool:
    return any(each.value in ("*", etag.value) for each in etags or ())


def _range_of(request: web.Request, etag: ETag, size: int) -> tuple[int, int] | None:
    """First byte and end of the range that is asked for; None where there is none, or none that can
    be read, or one of another file (RFC 9110 sections 14.2 and 13.1.5).

    Raises HTTPRequestRangeNotSatisfiable for one beyond the end.
    """
    condition = request.headers.get(hdrs.IF_RANGE)
    if hdrs.RANGE not in request.headers or request.method != hdrs.METH_GET:
        return None
    if condition not in (None, f'"{etag.value}"'):
        return None
    try:
        first, end, _ = request.http_range.indices(size)
        begins = request.http_range.start
    except ValueError:
        return None
    is_nothing = request.headers[hdrs.RANGE].strip().rstrip("0") == "bytes=-"  # the last 0 bytes
    if is_nothing or (begins is not None and begins >= size) or end <= first:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return first, end
