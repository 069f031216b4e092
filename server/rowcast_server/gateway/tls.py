"""TLS by a certificate and its key, read again when the files change: no restart to renew them."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rowcast.errors import RowcastError

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0  # at most so often


class Certificates:
    """The TLS context of new connections. Raises RowcastError where the files do not serve."""

    def __init__(
        self, chain: Path, key: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = chain, key
        self._clock = clock
        self._seen = self._stamps()
        self._checked = clock()
        self._context = self._load()

    @property
    def context(self) -> ssl.SSLContext:
        """The context of the files as they are; of those before, where they do not serve."""
        now = self._clock()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                try:
                    self._context = self._load()
                    logger.info("the TLS certificate was read again")
                except RowcastError as error:
                    logger.warning("%s; the certificate from before stays", error)
        return self._context

    def _load(self) -> ssl.SSLContext:
        chain, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            options = "--tls-cert" if key is None else "--tls-cert and --tls-key"
            raise RowcastError(
                f"{options}: {chain}{'' if key is None else f' and {key}'} are no certificate "
                f"with its key: {getattr(error, 'strerror', None) or error}"
            ) from error
        return context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        stamps: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                found = None if path is None else path.stat()
            except OSError:
                found = None
            stamps.append(found and (found.st_ino, found.st_size, found.st_mtime_ns))
        return stamps


def _no_password() -> str:
    raise ValueError("the key has a password; write it without one")
