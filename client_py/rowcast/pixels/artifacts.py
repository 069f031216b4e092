"""Detokenizer files: downloaded once, checked, cached under their sha256.

A client fetches only from its server's own host unless told otherwise, and never more than the
announced bytes. A download that is cut off is left in the cache as ``….part`` and goes on from
there; one process downloads a file, others wait for it. Where nothing can be kept, the file is held
in memory.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urljoin, urlsplit

from ..cache import default_cache
from ..errors import DetokenizerError
from ..messages import MAX_PALETTE_BYTES, DetokenizerFile
from ..requests import Token
from . import http_client
from .download import Download, FileRefused, Progress
from .network import Proxy, redacted

try:
    import fcntl
except ImportError:  # Windows: whoever downloads has a file of his own, and the last one stays
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

SUFFIXES: Final = {"palette": ".npy"}  # by kind; all others are ONNX
# What is larger is not fetched. Two gigabytes are as much as a protobuf can have, and so an ONNX
# file with its weights inside.
MOST_BYTES: Final = {"palette": MAX_PALETTE_BYTES, "preview": 2**28, "full": 2**31}
LOCK_POLL_SECONDS: Final = 0.05
LARGEST_IN_MEMORY: Final = 2**30


def cached_path(sha256: bytes, cache: Path | str | None = None, kind: str = "full") -> Path:
    """The path at which a file of this kind is kept. Raises OSError as `default_cache`."""
    folder = Path(cache) if cache else default_cache()
    return folder / f"{sha256.hex()}{SUFFIXES.get(kind, '.onnx')}"


def is_cached(file: DetokenizerFile, cache: Path | str | None = None) -> bool:
    """True if a file is kept; whether it is undamaged is seen when it is read."""
    try:
        return cached_path(file.sha256, cache, file.kind).is_file()
    except OSError:  # no home, or a folder that may not be searched
        return False


def fetch(
    file: DetokenizerFile,
    server_url: str,
    allowed_hosts: Collection[str] = (),
    cache: Path | str | None = None,
    progress: Progress | None = None,
    proxy: Proxy = None,
    token: Token = None,
) -> Path:
    """The path of a verified copy of the file, downloaded if need be.

    ``server_url`` is the WebSocket's, ``proxy`` and ``token`` as of `connect`. Raises
    DetokenizerError, naming the file, for a foreign host, a redirect, a failed, truncated or
    oversized download, a wrong checksum, or a cache that cannot keep it.
    """
    path = Path("the file")  # until it is known where
    try:
        path = cached_path(file.sha256, cache, file.kind)
        if _is_whole(path, file):
            return path
        url = _address(file, server_url, allowed_hosts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part(path.with_name(f"{path.name}.part"), file, progress) as (part, sink):
            if _is_whole(path, file):  # somebody else was faster
                part.unlink(missing_ok=True)
                return path
            try:
                Download(url, file, sink, progress, server_url, proxy, token).run()
                if fcntl is None:
                    sink.close()  # Windows renames no open file
                os.replace(part, path)
            except BaseException as error:
                # What is right so far is left for the next time, unless it fills the disk.
                with suppress(OSError, ValueError):
                    sink.flush()
                if isinstance(error, FileRefused | OSError) or not os.path.getsize(part):
                    part.unlink(missing_ok=True)
                raise
    except OSError as error:
        why = error.strerror or error  # which may name the path again
        raise _CannotKeep(f"{path} cannot be kept: {why}", path.parent) from error
    return path


def obtain(
    file: DetokenizerFile,
    server_url: str,
    allowed_hosts: Collection[str] = (),
    cache: Path | str | None = None,
    progress: Progress | None = None,
    proxy: Proxy = None,
    token: Token = None,
) -> Path | bytes:
    """As `fetch`, or the file's bytes, with a warning, where the cache cannot keep it."""
    try:
        return fetch(file, server_url, allowed_hosts, cache, progress, proxy, token)
    except _CannotKeep as error:
        if file.bytes > LARGEST_IN_MEMORY:
            raise
        if error.folder not in _TOLD:  # one line for all its files
            _TOLD.add(error.folder)
            logger.warning(
                "%s: held in memory, and fetched again next time; free some space or set "
                "ROWCAST_CACHE to a folder that can be written",
                error,
            )
    sink = io.BytesIO()
    url = _address(file, server_url, allowed_hosts)
    Download(url, file, sink, progress, server_url, proxy, token).run()
    return sink.getvalue()


class _CannotKeep(DetokenizerError):
    """The cache cannot be written."""

    def __init__(self, text: str, folder: Path) -> None:
        super().__init__(text)
        self.folder = folder


_TOLD: Final[set[Path]] = set()  # folders that cannot be written, of which a warning was given


def _is_whole(path: Path, file: DetokenizerFile) -> bool:
    """True if the file is there, and undamaged: a damaged one is fetched anew, and replaced."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").digest()
    if found != file.sha256:
        logger.warning(
            "%s is damaged (sha256 %s, announced %s): fetching it anew",
            path,
            found.hex(),
            file.sha256.hex(),
        )
    return found == file.sha256


@contextmanager
def _part(
    path: Path, file: DetokenizerFile, progress: Progress | None
) -> Iterator[tuple[Path, BinaryIO]]:
    """The locked partial file and its path; an earlier partial download is resumed.

    While another process holds the lock, its progress is told. If its file stops growing, the
    download goes into a file of our own instead.
    """
    while True:
        sink = open(path, "a+b")  # noqa: SIM115 (what is locked stays open)
        if not _lock(sink, file, progress):
            sink.close()
            break
        if _is_at(sink, path):
            with sink:
                yield path, sink
            return
        sink.close()  # it was finished, or removed, while we waited for it
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="download-")
    own = Path(name)
    try:
        with open(handle, "w+b") as sink:
            yield own, sink
    finally:
        own.unlink(missing_ok=True)


def _lock(sink: BinaryIO, file: DetokenizerFile, progress: Progress | None) -> bool:
    """Wait for the lock on the file; False where it cannot be had. A killed process frees it."""
    if fcntl is None:
        return False
    size, moved = -1, time.monotonic()
    while True:
        try:
            # Of the open file, not of the process: it holds between threads too, and ends with us.
            fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
        except OSError:  # a file system without locks
            return False
        now, grown = time.monotonic(), os.fstat(sink.fileno()).st_size
        if grown != size:
            size, moved = grown, now
            if progress is not None:
                progress(min(size, file.bytes), file.bytes)
        elif now - moved > http_client.TIMEOUT_SECONDS:
            return False
        time.sleep(LOCK_POLL_SECONDS)


def _is_at(sink: BinaryIO, path: Path) -> bool:
    """True if the open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(sink.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _address(file: DetokenizerFile, server_url: str, allowed_hosts: Collection[str]) -> str:
    """The file's absolute URL (R-52). Raises DetokenizerError where we may not fetch it (R-53), or
    it is larger than a file of its kind can be."""
    most = MOST_BYTES.get(file.kind, MOST_BYTES["full"])
    if file.bytes > most:
        raise DetokenizerError(
            f"{redacted(file.url)} is announced with {file.bytes} bytes; a {file.kind} file of a "
            f"decoder has at most {most}"
        )
    file_url = file.url
    server = urlsplit(server_url)
    schemes = ("https",) if server.scheme == "wss" else ("http", "https")
    try:
        url = urljoin(server._replace(scheme=schemes[0]).geturl(), file_url)
        parts = urlsplit(url)
    except ValueError:  # whose text shows the whole address
        raise DetokenizerError(
            f"{redacted(file_url)!r} is no address; the server's --public-url should be one"
        ) from None
    if parts.scheme not in schemes:
        raise DetokenizerError(
            f"{redacted(url)} is no {' or '.join(schemes)} address; the server's --public-url "
            "should be one"
        )
    if parts.hostname != server.hostname and parts.hostname not in allowed_hosts:
        raise DetokenizerError(
            f"the server {server.hostname} points to {redacted(url)}, another host; "
            f"pass allowed_hosts=[{parts.hostname!r}] (--allow-host) if you trust it"
        )
    return url
