"""A file over HTTP, bounded and checked: a download that was cut off goes on where it was cut.

Fills a sink, a binary file on disk or in memory, which may hold the beginning of the file already.
Knows nothing of caches, models or pixels.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from ..errors import ConnectionFailed, DetokenizerError
from ..messages import DetokenizerFile
from ..requests import Token
from ..transport import without_user
from .http_client import authorization, open_client, words_of
from .network import Proxy, redacted

if TYPE_CHECKING:
    import httpx  # elsewhere where it is used: in a thread, and not while the package is imported

CHUNK_BYTES: Final = 65_536
MAX_ATTEMPTS: Final = 20  # of one download
# Between attempts that bring nothing, once something has come; then the download has failed.
RETRY_WAITS_SECONDS = (0.2, 1.0)

# Called with the bytes received so far and the bytes announced. What it raises ends the download.
Progress = Callable[[int, int], None]


class FileRefused(DetokenizerError):
    """The bytes that came are not those announced: none of them is worth keeping."""


class Download:
    """The download of ``file`` from ``url`` into ``sink``. `run` once.

    ``proxy`` and ``token`` are as of `connect`, for the server at ``server_url``: no other host
    gets the token.
    """

    def __init__(
        self,
        url: str,
        file: DetokenizerFile,
        sink: BinaryIO,
        progress: Progress | None,
        server_url: str = "",
        proxy: Proxy = None,
        token: Token = None,
    ) -> None:
        self._address = url
        self._url = redacted(url)
        self._server_url = server_url
        self._proxy = proxy
        self._token = token
        self._by = ""  # the proxy, in words
        self._file = file
        self._sink = sink
        self._progress = progress
        self._digest = hashlib.sha256()
        self._received = 0

    def run(self) -> None:
        """Fill the sink with the whole file, byte for byte as announced.

        Raises FileRefused for other bytes, too few or too many; DetokenizerError where it cannot
        be fetched, or not to its end; OSError where the sink takes no more. All name the address.
        """
        self._take_up()
        held = self._received
        with self._open() as client:
            self._fetch_rest(client)
            if held and not self._is_right():  # the beginning was of something else
                self._start_over()
                self._fetch_rest(client)
        if not self._is_right():
            raise FileRefused(f"{self._url} is not the announced file: {self._checksums()}")
        self._sink.flush()

    def _take_up(self) -> None:
        """Hash what the sink holds already."""
        self._sink.seek(0)
        while chunk := self._sink.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self._received += len(chunk)
        if self._received > self._file.bytes:
            self._start_over()

    def _open(self) -> httpx.Client:
        try:
            client, self._by = open_client(self._address, self._server_url, self._proxy)
        except ConnectionFailed as error:
            raise DetokenizerError(f"{self._url} cannot be fetched: {error}") from error
        return client

    def _fetch_rest(self, client: httpx.Client) -> None:
        best, has_begun, waits = self._received, False, list(RETRY_WAITS_SECONDS)
        cut: httpx.HTTPError | None = None
        for _ in range(MAX_ATTEMPTS):
            if self._received == self._file.bytes:
                return
            cut = self._ask(client)
            if self._received == self._file.bytes:
                return
            is_new = self._received > best
            if is_new:
                best, has_begun, waits = self._received, True, list(RETRY_WAITS_SECONDS)
            if cut is not None and has_begun and waits:
                time.sleep(waits.pop(0))
            elif cut is not None or not is_new:
                break
        if cut is not None:
            raise DetokenizerError(
                f"{self._url} cannot be fetched: {words_of(cut)}{self._by}"
            ) from cut
        raise FileRefused(  # the server thinks that this is all there is
            f"{self._url} ended after {self._received} of {self._file.bytes} bytes: "
            f"{self._checksums()}"
        )

    def _ask(self, client: httpx.Client) -> httpx.HTTPError | None:
        """One request for all that is missing; returns what cut the answer off, None if nothing."""
        import httpx

        try:
            if self._received and self._request(client, {"Range": f"bytes={self._received}-"}):
                return None
            self._request(client, {})
        except httpx.HTTPError as error:
            return error
        except httpx.InvalidURL as error:
            raise DetokenizerError(f"{self._url} cannot be fetched: {error}") from error
        return None

    def _request(self, client: httpx.Client, asked: dict[str, str]) -> bool:
        """False if the server has no such range (416); ask for the whole file then."""
        # Identity: never more bytes than are announced.
        own = authorization(self._address, self._server_url, self._token)
        headers = {"Accept-Encoding": "identity", **own, **asked}
        with client.stream("GET", without_user(self._address), headers=headers) as answer:
            if asked and answer.status_code == 206:
                if not answer.headers.get("Content-Range", "").startswith(
                    f"bytes {self._received}-"
                ):
                    raise DetokenizerError(f"{self._url} answered with another range than asked")
            elif asked and answer.status_code in (200, 416):
                self._start_over()
                if answer.status_code == 416:
                    return False
            elif answer.status_code != 200:
                raise DetokenizerError(f"{self._url} answered with status {answer.status_code}")
            # As it comes: gathered into chunks of a size, the last would be lost in a cut.
            for chunk in answer.iter_raw():
                self._take(chunk)
        return True

    def _take(self, chunk: bytes) -> None:
        if self._received + len(chunk) > self._file.bytes:
            raise FileRefused(
                f"{self._url} is larger than the announced {self._file.bytes} bytes: its sha256 "
                f"is another than the announced {self._file.sha256.hex()}"
            )
        self._sink.write(chunk)
        self._digest.update(chunk)
        self._received += len(chunk)
        if self._progress is not None:
            self._progress(self._received, self._file.bytes)

    def _start_over(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._digest, self._received = hashlib.sha256(), 0

    def _is_right(self) -> bool:
        return self._digest.digest() == self._file.sha256

    def _checksums(self) -> str:
        return f"sha256 {self._digest.hexdigest()}, announced {self._file.sha256.hex()}"
