"""Every exception of the server, split by who is told.

::

    RowcastError (rowcast.errors)   the operator: one line, and no server
    ├── ModelError                  a model's files are missing, damaged or do not fit
    ├── Refused                     a client: an `error` frame on the stream, which ends
    ├── CloseConnection             a client: the connection is closed with a code and a reason
    │   ├── BadToken                4403: the token is missing or not valid
    │   └── ExpiredToken            4501: the token was valid, and is no longer
    └── ViewerTooSlow               nobody: the connection has been aborted
"""

from __future__ import annotations

from rowcast.errors import RowcastError
from rowcast.messages import CloseCode


class ModelError(RowcastError):
    """A model's files are missing, damaged or do not fit; the text names the file and tensor."""


class Refused(RowcastError):
    """Becomes an `error` frame: ``code``, ``text``, and ``retry_ms`` (0: permanent)."""

    def __init__(self, code: str, text: str, retry_ms: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_ms = retry_ms


class CloseConnection(RowcastError):
    """The connection must be closed with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class BadToken(CloseConnection):
    """The token is missing or not valid; ``reason`` shows nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(CloseCode.BAD_TOKEN, reason)


class ExpiredToken(CloseConnection):
    """The token was valid, and is no longer."""

    def __init__(self, reason: str) -> None:
        super().__init__(CloseCode.TOKEN_EXPIRED, reason)


class ViewerTooSlow(RowcastError):
    """The viewer did not take a frame in time; its connection has been aborted."""
