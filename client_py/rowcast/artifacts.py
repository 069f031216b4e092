"""Detokenizer files: downloaded once, checked, cached under their sha256.

A client fetches only from its server's own host unless told otherwise, and never more than the
announced bytes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from .cache import default_cache
from .errors import DetokenizerError
from .messages import DetokenizerFile, Model
from .session import detokenizer_file

DOWNLOAD_TIMEOUT_SECONDS = 30.0  # without a byte
CHUNK_BYTES = 65_536

# Called with the bytes received so far and the bytes announced.
Progress = Callable[[int, int], None]


def cached_path(sha256: bytes, cache: Path | None = None) -> Path:
    return (cache or default_cache()) / f"{sha256.hex()}.onnx"


def choose_file(model: Model) -> DetokenizerFile:
    """The file to decode with. Raises DetokenizerError if the server announced none we know."""
    file = detokenizer_file(model)
    if file is not None:
        return file
    found = ", ".join(f"{file.kind} {file.precision}" for file in model.files) or "none"
    raise DetokenizerError(f"the server offers no full fp32 detokenizer for {model.name}: {found}")


def fetch(
    file: DetokenizerFile,
    server_url: str,
    allowed_hosts: Collection[str] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The path of a verified copy of the file, downloaded if need be.

    ``server_url`` is the WebSocket's. Raises DetokenizerError, naming the file, for a foreign
    host, a redirect, a failed, truncated or oversized download, or a wrong checksum.
    """
    path = cached_path(file.sha256, cache)
    try:
        if path.is_file() and _sha256(path) == file.sha256:
            return path  # a damaged one is fetched anew, and replaced
        url = _address(file.url, server_url, allowed_hosts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix="download-", delete=False) as part:
            try:
                _download(url, file, part.write, progress)
                part.close()
                os.replace(part.name, path)
            except BaseException:
                part.close()
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DetokenizerError(f"{path} cannot be kept: {error}") from error
    return path


def _download(
    url: str,
    file: DetokenizerFile,
    write: Callable[[bytes], object],
    progress: Progress | None,
) -> None:
    digest, received = hashlib.sha256(), 0
    try:
        with httpx.stream(
            "GET",
            url,
            headers={"Accept-Encoding": "identity"},  # never more bytes than are announced
            timeout=DOWNLOAD_TIMEOUT_SECONDS,
        ) as response:
            if response.status_code != 200:
                raise DetokenizerError(f"{url} answered with status {response.status_code}")
            for chunk in response.iter_raw(CHUNK_BYTES):
                received += len(chunk)
                if received > file.bytes:
                    raise DetokenizerError(f"{url} is larger than the announced {file.bytes} bytes")
                digest.update(chunk)
                write(chunk)
                if progress is not None:
                    progress(received, file.bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DetokenizerError(
            f"{url} cannot be fetched: {error or type(error).__name__}"
        ) from error
    if received < file.bytes:
        raise DetokenizerError(f"{url} ended after {received} of {file.bytes} bytes")
    if digest.digest() != file.sha256:
        raise DetokenizerError(
            f"{url} is not the announced file: "
            f"sha256 {digest.hexdigest()}, announced {file.sha256.hex()}"
        )


def _address(file_url: str, server_url: str, allowed_hosts: Collection[str]) -> str:
    """Where the file is (R-52). Raises DetokenizerError where we may not fetch it (R-53)."""
    server = urlsplit(server_url)
    schemes = ("https",) if server.scheme == "wss" else ("http", "https")
    try:
        url = urljoin(server._replace(scheme=schemes[0]).geturl(), file_url)
        parts = urlsplit(url)
    except ValueError as error:
        raise DetokenizerError(f"{file_url!r} is no address: {error}") from error
    if parts.scheme not in schemes:
        raise DetokenizerError(
            f"{url} is no {' or '.join(schemes)} address; the server's --public-url should be one"
        )
    if parts.hostname != server.hostname and parts.hostname not in allowed_hosts:
        raise DetokenizerError(
            f"the server {server.hostname} points to {url}, another host; "
            f"pass allowed_hosts=[{parts.hostname!r}] (--allow-host) if you trust it"
        )
    return url


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
