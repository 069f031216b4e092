"""The tree of exceptions, split by whose fault it is.

::

    RowcastError
    ├── InvalidRequest        yours: an argument that no server could accept (also a ValueError)
    │   └── BeyondLimits      this server takes no more; another may
    ├── RequestRefused        the server answered `error`: code, text, retry time
    │   └── PictureGone       the picture to resume or to watch is no longer known
    ├── ConnectionFailed      the server cannot be reached, or refused the handshake
    │   └── ConnectionLost    it was there; the link broke while pictures were forming
    ├── ProtocolError         the peer broke the protocol
    │   └── MalformedFrame    a frame that does not decode to a message
    ├── DetokenizerError      a detokenizer file is corrupt, truncated, foreign or out of reach
    └── ReplayError           a .rows file is corrupt, truncated or of an unknown version

A failure that arrives while a picture is forming carries what was received: ``error.pictures``.
"""

from __future__ import annotations

from typing import Any


class RowcastError(Exception):
    """Base of all; ``pictures`` holds whatever had already been received.

    Survives pickle and copy with its attributes, whatever the constructor of its class takes: so
    it comes back from a process pool as it is.
    """

    pictures: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[RowcastError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> RowcastError:
    error = kind.__new__(kind, *arguments)  # without `__init__`, which takes other arguments
    error.__dict__.update(attributes)
    return error


class InvalidRequest(RowcastError, ValueError):
    """An argument that no server could accept."""


class BeyondLimits(InvalidRequest):
    """An argument that is more than this server takes; another may take it."""


class RequestRefused(RowcastError):
    """The server answered `error`.

    ``code`` is one of protocol.md section 6; ``retry_seconds`` is None where a retry is useless;
    ``index`` is that of the picture where it is one of several, else None.
    """

    def __init__(self, code: str, text: str, retry_ms: int = 0, index: int | None = None) -> None:
        self.code = code
        self.text = text
        self.index = index
        self.retry_seconds = retry_ms / 1000 if retry_ms else None
        hint = f" (retry in {self.retry_seconds:g} s)" if self.retry_seconds is not None else ""
        of = "" if index is None else f"picture {index}: "
        super().__init__(f"{of}{text} [{code}]{hint}")


class PictureGone(RequestRefused):
    """The server no longer knows the picture, or the rows held are not those that it drew."""


class ConnectionFailed(RowcastError):
    """The server cannot be reached, or it closed the connection; ``code`` is its close code."""

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)


class ConnectionLost(ConnectionFailed):
    """The link broke while pictures were forming; what had arrived is in ``pictures``."""


class ProtocolError(RowcastError):
    """The peer broke the protocol; ``close_code`` is what the connection is closed with, ``fault``
    what is wrong alone, where the text names the peer too."""

    close_code = 4400
    fault = ""


class MalformedFrame(ProtocolError):
    """A frame that does not decode to a message of the protocol."""


class DetokenizerError(RowcastError):
    """A detokenizer file is corrupt, truncated, foreign or out of reach."""


class ReplayError(RowcastError):
    """A .rows file is corrupt, truncated or of an unknown version."""
